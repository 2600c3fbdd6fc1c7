//go:build cloud

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/traffic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // az://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	"gocloud.dev/gcerrors"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

// openCloud opens a bucket of Google's (gs) or Azure's (az) service. The settings are the query parameters of
// gocloud.dev's URLs. Credentials come from where the services' own tools look for them.
func openCloud(ctx context.Context, scheme, container, path string, settings map[string]string, m *traffic.Meter) (bucket.Bucket, error) {
	query := url.Values{}
	for key, value := range settings {
		query.Set(key, value)
	}
	u := url.URL{Scheme: map[string]string{"gs": "gs", "az": "azblob"}[scheme], Host: container, RawQuery: query.Encode()}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, err
	}
	c := newCloudBucket(b, strings.TrimSuffix(scheme+"://"+container+"/"+path, "/"), path)
	c.meter = m
	if ok, err := b.IsAccessible(ctx); err == nil && !ok {
		c.Close()
		return nil, fmt.Errorf("%s: %w", c, store.ErrNoStore)
	}
	// A listing can only start over, and the services' own clients repeat its requests.
	return retrying{c, meteredPolicy(servicePolicy(), m), list}, nil
}

// cloudBucket is a bucket of a service that gocloud.dev knows. Its Put is durable.
type cloudBucket struct {
	bucket.DurablePuts
	bucket.NoUploads // both services drop parts after a week
	b                *blob.Bucket
	name             string
	meter            *traffic.Meter // counts calls, because the clients keep their connections to themselves
}

func newCloudBucket(b *blob.Bucket, name, path string) *cloudBucket {
	if path != "" {
		b = blob.PrefixedBucket(b, path+"/")
	}
	return &cloudBucket{b: b, name: name}
}

func (c *cloudBucket) String() string { return c.name }

// Services disagree about a range that begins at the end of an object, or behind it. So Get asks for the length where one
// is refused.
func (c *cloudBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	r, err := c.b.NewRangeReader(ctx, name, offset, n, nil)
	if err = c.fail(ctx, name, err); err != nil {
		if size, herr := c.Head(ctx, name); !store.IsNotFound(err) && herr == nil && offset >= size {
			return nil, nil
		}
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, n))
	if err == nil {
		err = ctx.Err()
	}
	return b, c.fail(ctx, name, errors.Join(err, c.meter.Call(ctx, 0, int64(len(b)))))
}

func (c *cloudBucket) Put(ctx context.Context, name string, data []byte) error {
	return c.fail(ctx, name, c.put(ctx, name, data, func(func(any) bool) error { return nil }))
}

// PutLarge lets the client send parts. A canceled writer leaves no object.
func (c *cloudBucket) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if err := c.meter.Call(ctx, size, 0); err != nil {
		return c.fail(ctx, name, err)
	}
	o := &blob.WriterOptions{ContentType: "application/octet-stream", BufferSize: 16 << 20, MaxConcurrency: 4}
	from := &source{Reader: bucket.Exactly(r, size)}
	if err := c.b.Upload(ctx, name, from, o); from.err == nil {
		return c.fail(ctx, name, err)
	}
	return fmt.Errorf("%s/%s: %w", c, name, from.err)
}

// source remembers an error of its reader, which the service has no part in.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (c *cloudBucket) Head(ctx context.Context, name string) (int64, error) {
	a, err := c.b.Attributes(ctx, name)
	if err != nil {
		return 0, c.fail(ctx, name, err)
	}
	return a.Size, nil
}

func (c *cloudBucket) Delete(ctx context.Context, name string) error {
	return c.fail(ctx, name, c.b.Delete(ctx, name))
}

// The services start each listing at the beginning, so List skips names up to after.
func (c *cloudBucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		objects := c.b.List(&blob.ListOptions{Prefix: prefix})
		for {
			o, err := objects.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(bucket.Object{}, c.fail(ctx, prefix, err))
				return
			}
			if o.Key > after && !yield(bucket.Object{Name: o.Key, Size: o.Size, Modified: o.ModTime}, nil) {
				return
			}
		}
	}
}

// Now stores an object and asks when that was. The object stays, and the next Now replaces it.
func (c *cloudBucket) Now(ctx context.Context) (time.Time, error) {
	const name = "clock"
	if err := c.Put(ctx, name, nil); err != nil {
		return time.Time{}, err
	}
	a, err := c.b.Attributes(ctx, name)
	if err != nil {
		return time.Time{}, c.fail(ctx, name, err)
	}
	return a.ModTime, nil
}

func (c *cloudBucket) Close() error { return c.b.Close() }

// fail adds the name of the object to an error, and says what kind of error it is.
func (c *cloudBucket) fail(ctx context.Context, name string, err error) error {
	passes := false
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		err = store.ErrNotFound
	case gcerrors.FailedPrecondition:
		err = bucket.ErrChanged
	case gcerrors.Internal, gcerrors.Unknown, gcerrors.ResourceExhausted, gcerrors.DeadlineExceeded:
		passes = !isRefusal(err)
	}
	return failed(ctx, c.name, c.name+"/"+name, err, passes)
}

// isRefusal reports whether a service has given an answer that stays, such as that it does not take the credentials.
func isRefusal(err error) bool {
	if _, ok := errors.AsType[interface {
		error
		NonRetriable()
	}](err); ok { // Azure has refused to sign in
		return true
	}
	status := 0
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		status = e.StatusCode
	} else if e, ok := errors.AsType[*googleapi.Error](err); ok {
		status = e.Code
	} else if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.Response != nil {
		status = e.Response.StatusCode
	}
	return status >= http.StatusBadRequest && !isPassingStatus(status)
}
