package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// The client is told a code and plain words, and no path or host. The client's TestFromStatus is the other half.
func TestToStatus(t *testing.T) {
	d := store.Sum([]byte("x"))
	for _, tt := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{fmt.Errorf("blob %s: %w", d, store.ErrNotFound), codes.NotFound, "not found"},
		{about("blob", d, fmt.Errorf("/secret/place: %w", store.ErrNotFound)), codes.NotFound, "blob " + d.String() + ": not found"},
		{&store.CorruptError{Digest: d, Where: "/secret/place", Err: store.ErrDigestMismatch}, codes.DataLoss, d.String() + ": corrupt: digest mismatch"},
		{&store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", store.ErrNotFound)}, codes.DataLoss, d.String() + ": corrupt: a part of it is not found"},
		{&store.CorruptError{Digest: d, Err: errors.New("/secret/place: broken")}, codes.DataLoss, d.String() + ": corrupt: the server cannot read it"},
		{store.ErrReadOnly, codes.PermissionDenied, "store is read-only"},
		{fmt.Errorf("walk: %w", store.ErrUnsupported), codes.Unimplemented, "not supported by this kind of store"},
		{invalidf("no"), codes.InvalidArgument, "no"},
		{context.Canceled, codes.Canceled, "context canceled"},
		{about("blob", d, context.DeadlineExceeded), codes.DeadlineExceeded, "context deadline exceeded"},
		{errors.New("/secret/place: broken"), codes.Internal, "the server's store failed: see the server's log"},
		{status.Error(codes.Unknown, "secret.example: broken"), codes.Internal, "the server's store failed: see the server's log"},
		{&fs.PathError{Op: "write", Path: "/secret/place", Err: syscall.ENOSPC}, codes.ResourceExhausted, "the server has no space left"},
		{fmt.Errorf("/secret/place: %w", store.ErrLocked), codes.Unavailable, "the server's store is in use"},
	} {
		s := status.Convert(toStatus(tt.err))
		if s.Code() != tt.code || s.Message() != tt.text {
			t.Errorf("%v: %v %q, want %v %q", tt.err, s.Code(), s.Message(), tt.code, tt.text)
		}
	}
	if toStatus(nil) != nil || about("blob", d, nil) != nil {
		t.Error("no error became one")
	}
}
