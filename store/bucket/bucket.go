// Package bucket is the interface of places that keep named objects. A folder and memory are such places here; package
// service has the remote ones. What the objects hold is the business of the stores above it.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"castar/store"
)

// Bucket is a flat name space of objects: the little that castar asks of a service. Names are slash-separated, valid for
// fs.ValidPath, and made of ASCII letters, digits, slashes, dashes and dots; no element begins with a dot. All methods may
// be called concurrently. Errors name the object. An error that may go away if the call is repeated is an *Unavailable;
// what such a call should have done may have happened all the same. A service that cannot do what a method asks returns
// store.ErrUnsupported.
type Bucket interface {
	// Get returns n bytes of an object, starting at offset, or fewer if the object ends before. The error is
	// store.ErrNotFound if there is no such object.
	Get(ctx context.Context, name string, offset, n int64) ([]byte, error)
	// Load returns an object of at most MaxLoad bytes, and its version for PutIf. The error is store.ErrNotFound if there
	// is no such object.
	Load(ctx context.Context, name string) ([]byte, Version, error)
	// Put stores an object, and replaces an object of that name. A concurrent reader gets all of the old bytes or all of
	// the new ones. Others may see it only after Sync, which also makes it durable.
	Put(ctx context.Context, name string, data []byte) error
	// PutLarge is Put for an object of size bytes that is not in memory. Services that bound the length of one request get
	// it in parts. If PutLarge fails, it removes the parts that the service has, as far as it can; see AbortUploads.
	PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error
	// PutIf stores an object if the object of that name has the version old, or if there is none and old is Absent. It
	// returns the new version. Otherwise the error is ErrChanged. No two calls with the same old both succeed, whoever makes
	// them. The object and everything that this Bucket put before are durable and visible to others when PutIf returns.
	//
	// If the answer to a call is lost, PutIf repeats the call, finds its own bytes, and succeeds. So the bytes should
	// be unique. If yet another writer has replaced them by then, the error is ErrChanged although the condition had
	// held.
	PutIf(ctx context.Context, name string, data []byte, old Version) (Version, error)
	// Head returns the length of an object in bytes. The error is store.ErrNotFound if there is no such object.
	Head(ctx context.Context, name string) (int64, error)
	// Delete removes an object. If there is none, it returns nil or store.ErrNotFound.
	Delete(ctx context.Context, name string) error
	// List yields, in bytewise order, the objects whose names begin with prefix and sort after the name after. The prefix
	// may end inside a part of a name. List ends with the first error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// AbortUploads removes what interrupted calls of PutLarge left before a time of the service's clock. Services that
	// remove it themselves do nothing.
	AbortUploads(ctx context.Context, before time.Time) error
	// Now returns the time by the service's clock, which also gives objects their times. It is Exact to a few seconds.
	Now(ctx context.Context) (time.Time, error)
	// Sync makes durable all that was put or deleted before the call, and all objects that Head and List had reported by
	// then. A Bucket whose Put is durable does nothing.
	Sync(ctx context.Context) error
	// Close releases the bucket. Objects that were not synced may be lost.
	Close() error
	// String names the bucket in messages, without secrets.
	String() string
}

// Object is what List tells of an object.
type Object struct {
	Name     string
	Size     int64     // in bytes; -1 if the service does not say
	Modified time.Time // by the service's clock; zero if it does not say
}

// Version identifies the bytes that an object has had since somebody put them. Only the service that made it understands
// it.
type Version string

// Absent is the version of an object that does not exist.
const Absent Version = ""

// MaxLoad is the length of the longest object that Load returns, in bytes.
const MaxLoad = 64 << 20

// ErrChanged says that an object does not have the version that a PutIf named.
var ErrChanged = errors.New("changed by another writer")

// Unavailable is an error of a Bucket that may go away if the call is repeated: the service is overloaded or out of order,
// or the connection broke.
type Unavailable struct{ Err error }

// Error returns the reason.
func (e *Unavailable) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Unavailable) Unwrap() error { return e.Err }

// DurablePuts, embedded in an implementation, is the Sync of a Bucket whose Put and Delete are durable.
type DurablePuts struct{}

// Sync implements Bucket.
func (DurablePuts) Sync(ctx context.Context) error { return ctx.Err() }

// NoUploads, embedded in an implementation, is the AbortUploads of a Bucket that leaves nothing to abort.
type NoUploads struct{}

// AbortUploads implements Bucket.
func (NoUploads) AbortUploads(ctx context.Context, _ time.Time) error { return ctx.Err() }

// LocalClock, embedded in an implementation, is the clock of a Bucket on this machine.
type LocalClock struct{}

// Now implements Bucket.
func (LocalClock) Now(ctx context.Context) (time.Time, error) { return time.Now(), ctx.Err() }

// versionOf returns a version for bytes that nobody puts twice.
func versionOf(data []byte) Version { return Version(store.Sum(data).String()) }

// Loaded returns the result of Load for bytes that were read with a bound above MaxLoad.
func Loaded(about string, data []byte, v Version) ([]byte, Version, error) {
	if len(data) > MaxLoad {
		return nil, "", fmt.Errorf("%s: object of more than %d bytes", about, MaxLoad)
	}
	return data, v, nil
}

// exact reads all of a reader that has left more bytes. An earlier end is an error.
type exact struct {
	io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Exactly returns a reader of the first size bytes of r. If r ends earlier, its error is io.ErrUnexpectedEOF.
func Exactly(r io.ReaderAt, size int64) io.Reader {
	return &exact{io.NewSectionReader(r, 0, size), size}
}

// ReadWhole reads size bytes, for services that take them at once.
func ReadWhole(r io.ReaderAt, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(Exactly(r, size), data)
	return data, err
}
