package service

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
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/retry"
	"castar/store/traffic"
)

// servicePolicy is the policy for remote services: up to about a minute of waiting. The timeout is also that of a
// connection on which nothing moves.
func servicePolicy() retry.Policy {
	return retry.Policy{Tries: 10, First: 50 * time.Millisecond, Most: 8 * time.Second, Timeout: 2 * time.Minute}
}

// firstPolicy is the policy for the first call to a service. It gives up sooner, since the URL may be misspelt.
func firstPolicy(p retry.Policy) retry.Policy {
	if p.Tries == 0 || p.Tries > 4 {
		p.Tries = 4
	}
	return p
}

// meteredPolicy is p for calls that a bound may hold back. Such calls have no timeout; their connections have one.
func meteredPolicy(p retry.Policy, m *traffic.Meter) retry.Policy {
	if m.Limited() {
		p.Timeout = 0
	}
	return p
}

// transport returns a transport whose traffic is counted and bounded, and whose connections end when nothing moves.
func transport(t *http.Transport, p retry.Policy, m *traffic.Meter) http.RoundTripper {
	t.MaxIdleConnsPerHost = 64
	t.DialContext = m.Dialer(t.DialContext, p.Timeout)
	return m.Transport(t)
}

// isPassing reports whether an error may go away if the call is repeated.
func isPassing(err error) bool {
	_, unavailable := errors.AsType[*bucket.Unavailable](err)
	return unavailable
}

// retrying repeats the calls of a Bucket, except those that the Bucket repeats itself, one request at a time.
type retrying struct {
	bucket.Bucket
	policy retry.Policy
	except calls
}

// calls is a set of calls of a Bucket.
type calls uint8

const (
	list calls = 1 << iota
	put
	putLarge
)

// Retry returns a Bucket that repeats the calls of b that return an *Unavailable.
func Retry(b bucket.Bucket, policy retry.Policy) bucket.Bucket {
	return retrying{Bucket: b, policy: policy}
}

func (r retrying) do(ctx context.Context, call func(context.Context) error) error {
	return r.policy.Do(ctx, isPassing, call)
}

// sized is for calls that move up to n bytes. Those that move more than a few MiB may take as long as something moves; see
// traffic.Meter.Dialer. The timeout is for Buckets without that: 4 KiB a second will do.
func (r retrying) sized(n int64) retrying {
	const usual = 4 << 20
	if n > usual {
		r.policy.Timeout *= time.Duration(min(n, 1<<32) / (512 << 10))
	}
	return r
}

// result is do for a call with a result.
func result[T any](ctx context.Context, r retrying, call func(context.Context) (T, error)) (v T, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		v, err = call(ctx)
		return err
	})
	return v, err
}

func (r retrying) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	return result(ctx, r.sized(n), func(ctx context.Context) ([]byte, error) { return r.Bucket.Get(ctx, name, offset, n) })
}

func (r retrying) Load(ctx context.Context, name string) (data []byte, v bucket.Version, err error) {
	v, err = result(ctx, r, func(ctx context.Context) (bucket.Version, error) {
		data, v, err = r.Bucket.Load(ctx, name)
		return v, err
	})
	return data, v, err
}

func (r retrying) Put(ctx context.Context, name string, data []byte) error {
	if r.except&put != 0 {
		return r.Bucket.Put(ctx, name, data)
	}
	return r.sized(int64(len(data))).do(ctx, func(ctx context.Context) error { return r.Bucket.Put(ctx, name, data) })
}

func (r retrying) PutLarge(ctx context.Context, name string, from io.ReaderAt, size int64) error {
	if r.except&putLarge != 0 {
		return r.Bucket.PutLarge(ctx, name, from, size)
	}
	return r.sized(size).do(ctx, func(ctx context.Context) error { return r.Bucket.PutLarge(ctx, name, from, size) })
}

// PutIf reads the object back when it has changed: perhaps by an earlier try, or by a proxy that repeats requests too.
func (r retrying) PutIf(ctx context.Context, name string, data []byte, old bucket.Version) (bucket.Version, error) {
	v, err := result(ctx, r.sized(int64(len(data))), func(ctx context.Context) (bucket.Version, error) {
		return r.Bucket.PutIf(ctx, name, data, old)
	})
	if errors.Is(err, bucket.ErrChanged) {
		if now, v, err := r.Load(ctx, name); err == nil && bytes.Equal(now, data) {
			return v, nil
		} else if err != nil && !store.IsNotFound(err) {
			return "", err
		}
	}
	return v, err
}

func (r retrying) Head(ctx context.Context, name string) (int64, error) {
	return result(ctx, r, func(ctx context.Context) (int64, error) { return r.Bucket.Head(ctx, name) })
}

func (r retrying) Delete(ctx context.Context, name string) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.Delete(ctx, name) })
}

func (r retrying) AbortUploads(ctx context.Context, before time.Time) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.AbortUploads(ctx, before) })
}

func (r retrying) Now(ctx context.Context) (time.Time, error) { return result(ctx, r, r.Bucket.Now) }

// List continues after the last object that it got. Each object is progress and starts a new count of tries. The timeout is
// for one page of objects, which are collected before they are yielded, so that the time the loop takes does not count.
func (r retrying) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	if r.except&list != 0 {
		return r.Bucket.List(ctx, prefix, after)
	}
	return func(yield func(bucket.Object, error) bool) {
		for more := true; more; {
			var found []bucket.Object
			err := r.do(ctx, func(ctx context.Context) error {
				more = false
				for o, err := range r.Bucket.List(ctx, prefix, after) {
					if err != nil && len(found) == 0 {
						return err
					}
					if err == nil {
						found, after = append(found, o), o.Name
					}
					if more = err != nil || len(found) == ListPage; more {
						return nil
					}
				}
				return nil
			})
			for _, o := range found {
				if !yield(o, nil) {
					return
				}
			}
			if err != nil {
				yield(bucket.Object{}, err)
				return
			}
		}
	}
}

// unasked is a bucket that was not asked for when it was opened: the first answer to a Load shows whether it is there.
type unasked struct {
	retrying
	answered *atomic.Bool
}

func (u unasked) Load(ctx context.Context, name string) ([]byte, bucket.Version, error) {
	r := u.retrying
	if !u.answered.Load() {
		r.policy = firstPolicy(r.policy)
	}
	data, v, err := r.Load(ctx, name)
	if !isPassing(err) {
		u.answered.Store(true)
	}
	return data, v, err
}

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
		return &bucket.Unavailable{Err: err}
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

// isFinal reports whether an error of the connection will stay: an unknown host, or a certificate that cannot be verified.
func isFinal(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// isPassingStatus reports whether a service that answers with that status may answer otherwise if it is asked again.
func isPassingStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage, http.StatusLoopDetected:
		return false
	}
	return status >= 500
}
