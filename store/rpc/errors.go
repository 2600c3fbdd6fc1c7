package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// toStatus turns an error of a store into what the client is told. Where in the store damage lies is not told.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return err
	}
	text := err.Error()
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		text = (&store.CorruptError{Digest: c.Digest, Err: c.Err}).Error()
	}
	return status.Error(codeOf(err), text)
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

// naming says that err is about a directory, and about which, unless it says so itself.
func naming(d store.Digest, err error) error {
	if strings.HasPrefix(err.Error(), d.String()) {
		return fmt.Errorf("directory %w", err)
	}
	return fmt.Errorf("directory %s: %w", d, err)
}
