package objects

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"

	"castar/store"
)

// Bucket is a flat name space of small objects: the little that this package asks of a service. Names are
// slash-separated, valid for fs.ValidPath, and made of ASCII letters, digits, slashes and dashes. All methods may be
// called concurrently. Errors name the object. An error that may go away if the call is repeated is an *Unavailable.
type Bucket interface {
	// Get returns n bytes of an object, starting at offset, or fewer if the object ends before. The error is
	// store.ErrNotFound if there is no such object.
	Get(ctx context.Context, name string, offset, n int64) ([]byte, error)
	// Put stores an object, and replaces an object of that name. A concurrent reader gets all of the old bytes or all of
	// the new ones. Put does not keep data.
	Put(ctx context.Context, name string, data []byte) error
	// Head returns the length of an object in bytes. The error is store.ErrNotFound if there is no such object.
	Head(ctx context.Context, name string) (int64, error)
	// Delete removes an object. If there is none, it returns nil or store.ErrNotFound.
	Delete(ctx context.Context, name string) error
	// List yields, in bytewise order, the names that begin with prefix and sort after the name after. The prefix may end
	// inside a part of a name. List ends with the first error, which is store.ErrUnsupported if the service cannot list.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
	// Sync makes durable all that was put or deleted before the call, and all objects that Head and List had reported by
	// then. A Bucket whose Put is durable does nothing.
	Sync(ctx context.Context) error
	// Close releases the bucket. Objects that were not synced may be lost.
	Close() error
	// String names the bucket in messages, without secrets.
	String() string
}

// Unavailable is an error of a Bucket that may go away if the call is repeated: the service is overloaded or out of order,
// or the connection broke.
type Unavailable struct{ Err error }

// Error returns the reason.
func (e *Unavailable) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Unavailable) Unwrap() error { return e.Err }

// durablePuts is the Sync of a Bucket whose Put and Delete are durable.
type durablePuts struct{}

func (durablePuts) Sync(ctx context.Context) error { return ctx.Err() }

// failed adds what an error is about: the server if that could not be reached. If ctx has ended, that is the reason. passes
// says that the error is an *Unavailable.
func failed(ctx context.Context, server, about string, err error, passes bool) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", about, ctx.Err())
	}
	if reason := unreached(server, err); reason != nil {
		err = &store.ServerError{Server: server, Err: reason}
	} else {
		err = fmt.Errorf("%s: %w", about, err)
	}
	if passes {
		return &Unavailable{err}
	}
	return err
}

// unreached returns why a server could not be reached, in the fewest words, or nil if it could.
func unreached(server string, err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && strings.Contains(server, e.Name) {
		return errors.New(e.Err)
	} else if ok {
		return fmt.Errorf("%s: %s", e.Name, e.Err)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		if call, ok := errors.AsType[*os.SyscallError](e); ok {
			return call.Err
		}
		return e.Err
	}
	return nil
}

// readMost returns what r has, or its first n bytes. It expects size bytes.
func readMost(r io.Reader, n, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), n, rangeSize)) + bytes.MinRead)
	_, err := io.Copy(&b, io.LimitReader(r, n))
	return b.Bytes(), err
}

// isFinal reports whether an error of the connection will stay: an unknown host, or a certificate that cannot be verified.
func isFinal(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// passing reports whether a service that answers with that status may answer otherwise if it is asked again.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage, http.StatusLoopDetected:
		return false
	}
	return status >= 500
}
