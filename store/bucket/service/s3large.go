package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/bucket"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

const (
	partSize = 16 << 20 // of an object that is stored in parts, in bytes
	maxParts = 10_000   // which S3 allows
	partsAt  = 4        // parts on their way at once
)

// PutLarge stores an object of up to 64 MiB in one request, and a larger one in parts, each of which is repeated if its
// request fails. Names are not used twice, so an object of the right length is this one.
func (s *s3Bucket) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if size <= 4*partSize {
		data, err := bucket.ReadWhole(r, size)
		if err != nil {
			return err
		}
		return Retry(s, s.policy).Put(ctx, name, data)
	}
	var upload string
	err := s.repeat(ctx, name, func(ctx context.Context) (err error) {
		upload, err = s.client.NewMultipartUpload(ctx, s.bucket, s.base+name, minio.PutObjectOptions{
			ContentType: "application/octet-stream",
		})
		return err
	})
	if err != nil {
		return err
	}
	parts, err := s.putParts(ctx, name, upload, r, size)
	if err == nil {
		err = s.complete(ctx, name, upload, parts, size)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		s.client.AbortMultipartUpload(ctx, s.bucket, s.base+name, upload) // AbortUploads does it later, if this fails
	}
	return err
}

// repeat makes a request that is a step of a larger call, and repeats it.
func (s *s3Bucket) repeat(ctx context.Context, name string, call func(context.Context) error) error {
	r := retrying{Bucket: s, policy: s.policy}.sized(partSize)
	return r.do(ctx, func(ctx context.Context) error { return s.fail(ctx, name, call(ctx)) })
}

// putParts sends all parts, several at once. After an error it begins no other part, and waits for those on their way: a
// service that is still taking one may keep the upload although it is aborted.
func (s *s3Bucket) putParts(ctx context.Context, name, upload string, r io.ReaderAt, size int64) ([]minio.CompletePart, error) {
	length := max(partSize, (size+maxParts-1)/maxParts)
	parts := make([]minio.CompletePart, (size+length-1)/length)
	var failed atomic.Bool
	var sending errgroup.Group
	sending.SetLimit(partsAt)
	for i := range parts {
		sending.Go(func() error {
			if failed.Load() {
				return nil
			}
			at := int64(i) * length
			data, err := bucket.ReadWhole(io.NewSectionReader(r, at, length), min(length, size-at))
			if err == nil {
				err = s.repeat(ctx, name, func(ctx context.Context) error {
					p, err := s.client.PutObjectPart(ctx, s.bucket, s.base+name, upload, i+1, bytes.NewReader(data),
						int64(len(data)), minio.PutObjectPartOptions{})
					parts[i] = minio.CompletePart{PartNumber: p.PartNumber, ETag: p.ETag}
					return err
				})
			}
			if err != nil {
				failed.Store(true)
			}
			return err
		})
	}
	return parts, sending.Wait()
}

// complete makes an object of its parts. If the service does not know the upload, an earlier try may have done it.
func (s *s3Bucket) complete(ctx context.Context, name, upload string, parts []minio.CompletePart, size int64) error {
	err := s.repeat(ctx, name, func(ctx context.Context) error {
		_, err := s.client.CompleteMultipartUpload(ctx, s.bucket, s.base+name, upload, parts, minio.PutObjectOptions{})
		return err
	})
	if store.IsNotFound(err) {
		n, lost := Retry(s, s.policy).Head(ctx, name)
		if lost == nil && n == size {
			return nil
		}
		err = errors.Join(fmt.Errorf("%s/%s: the service has dropped the parts", s, name), lost)
	}
	return err
}

func (s *s3Bucket) AbortUploads(ctx context.Context, before time.Time) error {
	var key, id string
	for {
		page, err := s.client.ListMultipartUploads(ctx, s.bucket, s.base, key, id, "", ListPage)
		if err = s.fail(ctx, "", err); store.IsNotFound(err) {
			return nil // what some servers answer if there is none
		} else if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			if !u.Initiated.Before(before) {
				continue
			}
			err := s.fail(ctx, u.Key, s.client.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID))
			if err != nil && !store.IsNotFound(err) {
				return err
			}
		}
		if !page.IsTruncated {
			return nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// serverClock remembers what time it was at the server when it last answered.
type serverClock struct {
	http.RoundTripper
	last  atomic.Pointer[answeredAt] // with success; what stands between answers errors by a clock of its own
	ahead atomic.Int64               // how far the clock of the server was ahead of ours, a time.Duration, at the last answer
}

type answeredAt struct{ there, here time.Time }

func (c *serverClock) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if there, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		c.ahead.Store(int64(time.Until(there)))
		if answer.StatusCode < 300 {
			c.last.Store(&answeredAt{there, time.Now()})
		}
	}
	return answer, nil
}

func (c *serverClock) now() (time.Time, bool) {
	last := c.last.Load()
	if last == nil {
		return time.Time{}, false
	}
	return last.there.Add(time.Since(last.here)), true
}

// clockError returns err with its reason, if a service has refused a request because it was signed by a clock that is wrong:
// no service takes one of a quarter of an hour ago. Otherwise it returns nil.
func (c *serverClock) clockError(err error) error {
	const most = 10 * time.Minute
	r, ok := errors.AsType[minio.ErrorResponse](err)
	ahead := time.Duration(c.ahead.Load()).Round(time.Minute)
	if !ok || r.StatusCode != http.StatusForbidden || ahead.Abs() < most {
		return nil
	}
	than := "behind"
	if ahead < 0 {
		than = "ahead of"
	}
	return fmt.Errorf("the clock of this machine is %v %s that of the service: %w", ahead.Abs(), than, err)
}
