package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// errInvalid is what a caller sent and should not have.
type errInvalid struct{ err error }

func (e errInvalid) Error() string { return e.err.Error() }
func (e errInvalid) Unwrap() error { return e.err }

func invalidf(format string, args ...any) error { return errInvalid{fmt.Errorf(format, args...)} }

// meaning returns the error that a code stands for, in both directions, or nil.
func meaning(code codes.Code) error {
	switch code {
	case codes.NotFound:
		return store.ErrNotFound
	case codes.PermissionDenied:
		return store.ErrReadOnly
	case codes.Unimplemented:
		return store.ErrUnsupported
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return nil
}

// codeOf returns the code that says best what err says. Damage comes first, for something that is missing may be why.
func codeOf(err error) codes.Code {
	if _, ok := errors.AsType[*store.CorruptError](err); ok {
		return codes.DataLoss
	}
	if _, ok := errors.AsType[errInvalid](err); ok {
		return codes.InvalidArgument
	}
	for _, code := range []codes.Code{
		codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Canceled, codes.DeadlineExceeded,
	} {
		if errors.Is(err, meaning(code)) {
			return code
		}
	}
	return codes.Internal
}

// refused is an error that the server has words for itself, which the client is told.
type refused struct {
	code codes.Code
	text string
}

func refusef(code codes.Code, format string, args ...any) error {
	return &refused{code, fmt.Sprintf(format, args...)}
}

func (e *refused) Error() string { return e.text }

// GRPCStatus is what the client is told.
func (e *refused) GRPCStatus() *status.Status { return status.New(e.code, e.text) }

// ofTransport turns an error of gRPC's own into one that the client is told, if it is still there.
func ofTransport(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	s := status.FromContextError(err)
	if own, ok := status.FromError(err); ok {
		s = own
	}
	return &refused{s.Code(), s.Message()}
}

// subject is the object that an error of the store is about, as the client knows it.
type subject struct {
	kind string
	d    store.Digest
	err  error
}

func (e *subject) Error() string { return store.About(e.kind, e.d, e.err).Error() }
func (e *subject) Unwrap() error { return e.err }

// about says what an error of the store is about.
func about(kind string, d store.Digest, err error) error {
	if err == nil {
		return nil
	}
	return &subject{kind, d, err}
}

// toStatus turns an error into what the client is told. Of an error of the store that is a code, the object and a plain
// reason: the rest may name folders and hosts, and is for the server's log.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*refused](err); ok {
		return e.GRPCStatus().Err()
	}
	if e, ok := errors.AsType[errInvalid](err); ok {
		return status.Error(codes.InvalidArgument, e.Error())
	}
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		clean := &store.CorruptError{Digest: c.Digest, Err: errors.New(damage(c.Err))}
		return status.Error(codes.DataLoss, clean.Error())
	}
	code, text := reason(err)
	if e, ok := errors.AsType[*subject](err); ok && code != codes.Canceled && code != codes.DeadlineExceeded {
		text = fmt.Sprintf("%s %s: %s", e.kind, e.d, text)
	}
	return status.Error(code, text)
}

// damage returns what is wrong with stored bytes, in words that say nothing of where they are.
func damage(err error) string {
	switch {
	case errors.Is(err, store.ErrDigestMismatch):
		return store.ErrDigestMismatch.Error()
	case errors.Is(err, store.ErrNotFound):
		return "a part of it is not found"
	}
	return "the server cannot read it"
}

// reason returns the code of an error of the store, and words for it.
func reason(err error) (codes.Code, string) {
	code := codeOf(err)
	if is := meaning(code); is != nil {
		return code, is.Error()
	}
	switch remote, ok := errors.AsType[*remoteError](err); {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return codes.ResourceExhausted, "the server has no space left"
	case errors.Is(err, store.ErrLocked):
		return codes.Unavailable, "the store of the server is in use"
	case ok && slices.Contains([]codes.Code{codes.Unavailable, codes.ResourceExhausted}, remote.code):
		return remote.code, "the store of the server is not available"
	}
	return codes.Internal, "the store of the server fails: see the log there"
}

// remoteError is why a call failed, in the words of the server or of the connection.
type remoteError struct {
	code codes.Code
	text string
}

// Error is the text, and the code where that says something that the text may not.
func (e *remoteError) Error() string {
	if is := meaning(e.code); is != nil {
		if strings.Contains(e.text, is.Error()) {
			return "server: " + e.text
		}
		return "server: " + e.text + ": " + is.Error()
	}
	return fmt.Sprintf("server: %s: %s", e.code, e.text)
}

// Unwrap returns the error that the code stands for.
func (e *remoteError) Unwrap() error { return meaning(e.code) }

// fromStatus turns the error of a call about d into one of package store.
func fromStatus(err error, d store.Digest) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	// The first are the words of tvix and snix, the second those of a server of castar's, which takes either rule.
	if strings.Contains(s.Message(), "wrong size") && !strings.Contains(s.Message(), " throughout") {
		return &store.SizeRuleError{Text: strings.TrimPrefix(s.Message(), (&store.SizeRuleError{}).Error())} // of a server behind it
	}
	switch s.Code() {
	case codes.NotFound:
		return fmt.Errorf("%s: %w", d, store.ErrNotFound)
	case codes.DataLoss:
		text := strings.TrimPrefix(s.Message(), d.String()+": corrupt: ")
		return &store.CorruptError{Digest: d, Err: errors.New("server: " + text)}
	case codes.Canceled, codes.DeadlineExceeded:
		if text := meaning(s.Code()).Error(); s.Message() == text {
			return fmt.Errorf("%s: %w", d, meaning(s.Code()))
		}
	}
	return &remoteError{s.Code(), s.Message()}
}
