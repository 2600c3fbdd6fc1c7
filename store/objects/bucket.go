package objects

import (
	"context"
	"iter"
)

// Bucket is a flat name space of small objects, the little that this package asks of a service. Names are
// slash-separated, valid for fs.ValidPath and made of ASCII letters, digits, slashes and dashes. All methods may be
// called concurrently. Errors name the object; one that may go away when the call is repeated is an *Unavailable.
type Bucket interface {
	// Get returns n bytes of an object from offset on, fewer only where it ends. The error is store.ErrNotFound where
	// there is no such object.
	Get(ctx context.Context, name string, offset, n int64) ([]byte, error)
	// Put stores an object, and replaces one that has the name: whoever reads it meanwhile gets the old bytes or the new
	// ones, whole. It does not keep data.
	Put(ctx context.Context, name string, data []byte) error
	// Head returns the length of an object in bytes. The error is store.ErrNotFound where there is none.
	Head(ctx context.Context, name string) (int64, error)
	// Delete removes an object. Where there is none it may return nil or store.ErrNotFound.
	Delete(ctx context.Context, name string) error
	// List yields the names that begin with prefix, which may end within a part of a name, and come after the name after
	// in the order of their bytes, which is also the order in which it yields them. It ends with the first error, which is
	// store.ErrUnsupported where the service cannot list.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
	// Sync returns once all that was put or deleted before it was called, and all whose presence Head and List had then
	// told, will survive a crash. Buckets whose Put is durable do nothing.
	Sync(ctx context.Context) error
	// Close releases the bucket. What was not synced may be lost.
	Close() error
	// String names the bucket in messages, without secrets.
	String() string
}

// Unavailable is an error of a Bucket that may go away when the call is repeated: the service is overloaded or out of
// order, or the connection broke.
type Unavailable struct{ Err error }

// Error returns the reason.
func (e *Unavailable) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Unavailable) Unwrap() error { return e.Err }
