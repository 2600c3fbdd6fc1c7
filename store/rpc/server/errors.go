package server

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// refused is an error that the client is told word for word.
type refused struct {
	code codes.Code
	text string
}

func refusef(code codes.Code, format string, args ...any) error {
	return &refused{code, fmt.Sprintf(format, args...)}
}

// invalidf reports a request that is wrong in itself.
func invalidf(format string, args ...any) error {
	return refusef(codes.InvalidArgument, format, args...)
}

func (e *refused) Error() string { return e.text }

// GRPCStatus returns what the client is told.
func (e *refused) GRPCStatus() *status.Status { return status.New(e.code, e.text) }

// fromTransport makes an error of gRPC itself one that the client is told.
func fromTransport(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	s := status.FromContextError(err)
	if own, ok := status.FromError(err); ok {
		s = own
	}
	return &refused{s.Code(), s.Message()}
}

// objectError is an error of the store with the object that the client asked for.
type objectError struct {
	what string // blob or directory
	d    store.Digest
	err  error
}

func (e *objectError) Error() string { return store.About(e.what, e.d, e.err).Error() }
func (e *objectError) Unwrap() error { return e.err }

// about adds the object to an error of the store.
func about(what string, d store.Digest, err error) error {
	if err == nil {
		return nil
	}
	return &objectError{what, d, err}
}

// toStatus returns what the client is told of an error. For an error of the store that is a code, the object and a plain
// reason. The error itself may name folders and hosts, and goes to the server's log.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*refused](err); ok {
		return e.GRPCStatus().Err()
	}
	// Damage comes before what is missing, which may be a part of a damaged blob.
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		clean := &store.CorruptError{Digest: c.Digest, Err: errors.New(damage(c.Err))}
		return status.Error(codes.DataLoss, clean.Error())
	}
	code, text := reason(err)
	if e, ok := errors.AsType[*objectError](err); ok && code != codes.Canceled && code != codes.DeadlineExceeded {
		text = fmt.Sprintf("%s %s: %s", e.what, e.d, text)
	}
	return status.Error(code, text)
}

// isOfStore reports whether an error says that the store failed, rather than that a call was refused or its client went.
func isOfStore(err error) bool {
	if _, ok := errors.AsType[*refused](err); ok || err == nil {
		return false
	}
	code := status.Code(toStatus(err))
	return code == codes.Internal || code == codes.ResourceExhausted || code == codes.Unavailable
}

// damage returns plain words for the reason of damage.
func damage(err error) string {
	switch {
	case errors.Is(err, store.ErrDigestMismatch):
		return store.ErrDigestMismatch.Error()
	case errors.Is(err, store.ErrNotFound):
		return "a part of it is not found"
	}
	return "the server cannot read it"
}

// reason returns the code of an error of the store, and plain words for it.
func reason(err error) (codes.Code, string) {
	for _, code := range []codes.Code{
		codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Canceled, codes.DeadlineExceeded,
	} {
		if is := wire.Meaning(code); errors.Is(err, is) {
			return code, is.Error()
		}
	}
	switch remote, ok := errors.AsType[*wire.Error](err); {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return codes.ResourceExhausted, "the server has no space left"
	case errors.Is(err, store.ErrLocked):
		return codes.Unavailable, "the server's store is in use"
	case ok && slices.Contains([]codes.Code{codes.Unavailable, codes.ResourceExhausted}, remote.Code):
		return remote.Code, "the server's store is not available"
	}
	for _, code := range []codes.Code{codes.PermissionDenied, codes.AlreadyExists, codes.FailedPrecondition} {
		for _, is := range wire.Told(code) {
			if errors.Is(err, is) {
				return code, is.Error()
			}
		}
	}
	return codes.Internal, "the server's store failed: see the server's log"
}
