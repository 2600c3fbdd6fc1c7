//go:build cloud

package service

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azureblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // az://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	"gocloud.dev/gcerrors"

	"castar/store"
	"castar/store/bucket"
	"castar/store/meter"
	"castar/store/retry"
)

// openCloud opens a bucket of Google's (gs) or Azure's (az) service. The settings are the query parameters of
// gocloud.dev's URLs. Credentials come from where the services' own tools look for them.
func openCloud(ctx context.Context, scheme, container, path string, settings map[string]string, m *meter.Meter) (bucket.Bucket, error) {
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
	return retrying{c, policy(retry.Policy{}, m), list}, nil
}

// cloudBucket is a bucket of a service that gocloud.dev knows. Its Put is durable.
type cloudBucket struct {
	bucket.DurablePuts
	bucket.NoUploads // both services drop parts after a week
	b                *blob.Bucket
	name             string
	meter            *meter.Meter // counts calls, because the clients keep their connections to themselves
}

func newCloudBucket(b *blob.Bucket, name, path string) *cloudBucket {
	if path != "" {
		b = blob.PrefixedBucket(b, path+"/")
	}
	return &cloudBucket{b: b, name: name}
}

func (c *cloudBucket) String() string { return c.name }

// Services disagree about a range that begins at the end, so Get never asks for one.
func (c *cloudBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if offset > 0 {
		if size, err := c.Head(ctx, name); err != nil || offset >= size {
			return nil, err
		}
	}
	length := n
	if offset == 0 {
		length = -1
	}
	r, err := c.b.NewRangeReader(ctx, name, offset, length, nil)
	if err != nil {
		return nil, c.fail(ctx, name, err)
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
		passes = true
	}
	return failed(ctx, c.name, c.name+"/"+name, err, passes)
}

// lost is the version of an object that was stored and then replaced by another writer. No object has it.
const lost bucket.Version = "lost"

// Load gets the version from the same answer as the bytes: Google's generation, or Azure's ETag.
func (c *cloudBucket) Load(ctx context.Context, name string) ([]byte, bucket.Version, error) {
	r, err := c.b.NewReader(ctx, name, nil)
	if err != nil {
		return nil, "", c.fail(ctx, name, err)
	}
	defer r.Close()
	var v bucket.Version
	var google *storage.Reader
	var azure azureblob.DownloadStreamResponse
	switch {
	case r.As(&google):
		v = bucket.Version(strconv.FormatInt(google.Attrs.Generation, 10))
	case r.As(&azure) && azure.ETag != nil:
		v = bucket.Version(*azure.ETag)
	default:
		return nil, "", fmt.Errorf("%s/%s: versions of objects: %w", c, name, store.ErrUnsupported)
	}
	data, err := io.ReadAll(io.LimitReader(r, bucket.MaxLoad+1))
	if err = errors.Join(err, c.meter.Call(ctx, 0, int64(len(data)))); err != nil {
		return nil, "", c.fail(ctx, name, err)
	}
	return bucket.Loaded(c.name+"/"+name, data, v)
}

// PutIf reads the version of what it stored, because the client does not return it.
func (c *cloudBucket) PutIf(ctx context.Context, name string, data []byte, old bucket.Version) (bucket.Version, error) {
	if old == lost {
		return "", fmt.Errorf("%s/%s: %w", c, name, bucket.ErrChanged)
	}
	err := c.put(ctx, name, data, func(as func(any) bool) error { return setCondition(as, old) })
	if old != bucket.Absent && store.IsNotFound(c.fail(ctx, name, err)) {
		err = bucket.ErrChanged
	}
	if err != nil {
		return "", c.fail(ctx, name, err)
	}
	now, v, err := c.Load(ctx, name)
	if store.IsNotFound(err) || err == nil && !bytes.Equal(now, data) {
		return lost, nil
	}
	return v, err
}

// put stores an object after prepare, which gets what blob.WriterOptions.BeforeWrite does. The digest in the request lets the
// service refuse an object that was damaged on the way. It does without blob.Bucket.WriteAll, which sends that digest too:
// its writer for Azure's service panics when that refuses the object.
func (c *cloudBucket) put(ctx context.Context, name string, data []byte, prepare func(as func(any) bool) error) error {
	if err := c.meter.Call(ctx, int64(len(data)), 0); err != nil {
		return err
	}
	sum := md5.Sum(data)
	before := func(as func(any) bool) error {
		if err := prepare(as); err != nil {
			return err
		}
		var google *storage.Writer
		var azure *azblob.UploadStreamOptions
		if as(&google) {
			google.MD5 = sum[:]
		} else if as(&azure) {
			azure.HTTPHeaders.BlobContentMD5 = sum[:]
		}
		return nil
	}
	o := &blob.WriterOptions{ContentType: "application/octet-stream", BeforeWrite: before}
	return c.b.Upload(ctx, name, bytes.NewReader(data), o)
}

// setCondition makes a write depend on the version of the object, or on its absence.
func setCondition(as func(any) bool, old bucket.Version) error {
	var google **storage.ObjectHandle
	var azure *azblob.UploadStreamOptions
	switch {
	case as(&google):
		conditions := storage.Conditions{DoesNotExist: old == bucket.Absent}
		if old != bucket.Absent {
			generation, err := strconv.ParseInt(string(old), 10, 64)
			if err != nil {
				return err
			}
			conditions.GenerationMatch = generation
		}
		*google = (*google).If(conditions)
	case as(&azure):
		tag, any := azcore.ETag(old), azcore.ETagAny
		conditions := &azureblob.ModifiedAccessConditions{IfMatch: &tag}
		if old == bucket.Absent {
			conditions = &azureblob.ModifiedAccessConditions{IfNoneMatch: &any}
		}
		azure.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: conditions}
	default:
		return fmt.Errorf("conditional writes: %w", store.ErrUnsupported)
	}
	return nil
}
