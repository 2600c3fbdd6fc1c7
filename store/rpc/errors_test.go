package rpc

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// A status becomes the error of package store that it stands for. The server's TestToStatus is the other half.
func TestFromStatus(t *testing.T) {
	d := store.Sum([]byte("x"))
	for _, tt := range []struct {
		code    codes.Code
		message string
		text    string
		is      error // nil: none of them
	}{
		{codes.NotFound, "blob " + d.String() + ": not found", d.String() + ": not found", store.ErrNotFound},
		{codes.DataLoss, d.String() + ": corrupt: digest mismatch", d.String() + ": corrupt: server: digest mismatch", nil},
		{codes.DataLoss, d.String() + ": corrupt: a part of it is not found", d.String() + ": corrupt: server: a part of it is not found", nil},
		{codes.PermissionDenied, "store is read-only", "server: store is read-only", store.ErrReadOnly},
		{codes.PermissionDenied, "go away", "server: go away: store is read-only", store.ErrReadOnly},
		{codes.Unimplemented, "not supported by this kind of store", "server: not supported by this kind of store", store.ErrUnsupported},
		{codes.InvalidArgument, "no", "server: InvalidArgument: no", nil},
		{codes.Canceled, "context canceled", d.String() + ": context canceled", context.Canceled},
		{codes.DeadlineExceeded, "context deadline exceeded", d.String() + ": context deadline exceeded", context.DeadlineExceeded},
		{codes.Internal, "broken", "server: Internal: broken", nil},
		{codes.ResourceExhausted, "the server has no space left", "server: the server has no space left", nil},
		{codes.Unavailable, "the server's store is in use", "server: the server's store is in use", nil},
	} {
		got := fromStatus(status.Error(tt.code, tt.message), d)
		if got.Error() != tt.text {
			t.Errorf("%v %q became %q, want %q", tt.code, tt.message, got, tt.text)
		}
		for _, is := range []error{store.ErrReadOnly, store.ErrUnsupported, context.Canceled, context.DeadlineExceeded, store.ErrNotFound} {
			if errors.Is(got, is) != (is == tt.is) {
				t.Errorf("%v became %v, which is %v: %v", tt.code, got, is, errors.Is(got, is))
			}
		}
		if store.IsCorrupt(got) != (tt.code == codes.DataLoss) || store.IsNotFound(got) != (tt.code == codes.NotFound) {
			t.Errorf("%v became %v: corrupt %v, not found %v", tt.code, got, store.IsCorrupt(got), store.IsNotFound(got))
		}
	}
	if fromStatus(nil, d) != nil || fromStatus(io.EOF, d) != io.EOF {
		t.Error("what is no status was changed")
	}
}

// Errors of a connection name the server, and say in plain words what is wrong with it.
func TestServerErrors(t *testing.T) {
	d := store.Sum([]byte("x"))
	for _, tt := range []struct {
		code       codes.Code
		text, want string
		whole      bool // it is about the server, whatever was asked
	}{
		{codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp [::1]:8000: connect: connection refused"`, "connection refused", true},
		{codes.Unavailable, `last connection error: connection error: desc = "transport: Error while dialing: dial unix /a b: connect: no such file or directory"`, "no such file or directory", true},
		{codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"`,
			"authentication handshake failed: tls: first record does not look like a TLS handshake", true},
		{codes.Unavailable, "name resolver error: produced zero addresses", "no such host", true},
		{codes.Unavailable, "name resolver error: dns: A record lookup error: lookup h on 1.1.1.1:53: server misbehaving", "lookup h on 1.1.1.1:53: server misbehaving", true},
		{codes.Unavailable, "the server's store is in use", "the server's store is in use", true},
		{codes.Unavailable, "dial", "dial", true},
		{codes.Unavailable, "", "", true},
		{codes.Unauthenticated, "no valid token", "no valid token", true},
		{codes.PermissionDenied, "no", "no: store is read-only", false},
		{codes.Internal, "broken", "Internal: broken", false},
	} {
		got := fromStatus(saidBy("grpc+http://h:8000", status.Error(tt.code, tt.text)), d)
		server, whole := errors.AsType[*store.ServerError](got)
		if got.Error() != "grpc+http://h:8000: "+tt.want || whole != tt.whole || whole && server.Error() != got.Error() {
			t.Errorf("%v %q became %q, want %q; about the server: %v", tt.code, tt.text, got, tt.want, whole)
		}
	}
}
