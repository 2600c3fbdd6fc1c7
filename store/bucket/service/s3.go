package service

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/retry"
	"castar/store/traffic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3Config says where an S3 bucket is, and with which credentials to ask for it.
type S3Config struct {
	Bucket       string
	Path         string // the path of all objects, without slashes at its ends
	Endpoint     string // the service's URL; if empty, AWS
	Region       string // if empty, us-east-1 with an Endpoint, and otherwise the service is asked
	AllowHTTP    bool   // allow an Endpoint without TLS
	VirtualHosts bool   // make the bucket a part of the host name, even with an Endpoint
	// KeyID, Secret and Token are credentials. If they are empty, credentials come from Profile in AWS's files. If that is
	// empty too, they come from the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, from AWS's
	// files, or from the role of the machine or container, in this order. Without any, requests are not signed.
	KeyID, Secret, Token string
	Profile              string
	Anonymous            bool           // do not sign requests
	UserAgent            string         // added to the client's own
	Retry                retry.Policy   // how calls are repeated; zero means about a minute
	Meter                *traffic.Meter // of all connections; may be nil
	Unasked              bool           // OpenS3 does not ask for the bucket; the first call of Load should do so
}

// s3Bucket is a bucket of a service that speaks S3. Its Put is durable.
type s3Bucket struct {
	bucket.DurablePuts
	client minio.Core
	bucket string
	base   string       // prefix of all names
	policy retry.Policy // for each request of PutLarge
	clock  *serverClock
}

// OpenS3 returns the Bucket that c describes. Unless c.Unasked is set, it asks the service for the bucket; the error is
// store.ErrNoStore if there is none. Calls that fail for a reason that may go away are repeated.
func OpenS3(ctx context.Context, c S3Config) (bucket.Bucket, error) {
	c.Retry = cmp.Or(c.Retry, servicePolicy())
	b, err := newS3(c)
	if err != nil {
		return nil, fmt.Errorf("s3://%s: %w", c.Bucket, err)
	}
	all := retrying{b, b.policy, putLarge}
	if c.Unasked {
		return unasked{all, new(atomic.Bool)}, nil
	}
	return all, firstPolicy(c.Retry).Do(ctx, isPassing, b.exists)
}

func newS3(c S3Config) (*s3Bucket, error) {
	host, secure := "s3.amazonaws.com", true
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
			return nil, errors.New("endpoint: want http://host:port or https://host:port")
		}
		host, secure = u.Host, u.Scheme == "https"
		if !secure && (u.Scheme != "http" || !c.AllowHTTP) {
			return nil, fmt.Errorf("endpoint %q: no TLS: to allow it, set aws_allow_http=true", c.Endpoint)
		}
		c.Region = cmp.Or(c.Region, "us-east-1")
	}
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	clock := &serverClock{RoundTripper: noPages{transport(t, c.Retry, c.Meter)}}
	o := &minio.Options{
		Creds: s3Credentials(c), Secure: secure, Region: c.Region, Transport: clock, MaxRetries: 1,
	}
	if c.Endpoint != "" && !c.VirtualHosts {
		o.BucketLookup = minio.BucketLookupPath
	}
	client, err := minio.NewCore(host, o)
	if err != nil {
		return nil, err
	}
	client.SetAppInfo(cmp.Or(c.UserAgent, "castar"), "1")
	b := &s3Bucket{client: *client, bucket: c.Bucket, policy: meteredPolicy(c.Retry, c.Meter), clock: clock}
	if path := strings.Trim(c.Path, "/"); path != "" {
		b.base = path + "/"
	}
	return b, nil
}

func s3Credentials(c S3Config) *credentials.Credentials {
	switch {
	case c.Anonymous:
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	case c.KeyID != "":
		return credentials.NewStaticV4(c.KeyID, c.Secret, c.Token)
	case c.Profile != "":
		return credentials.NewFileAWSCredentials("", c.Profile)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

// noPages refuses pages of HTML. They come from something that is not an S3 server, such as a portal that wants a login.
// The client would take a page for an empty listing, or for the news that an object exists or was stored. Some S3 servers
// call an answer of no bytes HTML, so noPages lets that pass.
type noPages struct{ http.RoundTripper }

func (t noPages) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode < 300 && answer.ContentLength != 0 && isPage(answer.Header) {
		answer.Body.Close()
		return nil, errPage
	}
	return answer, err
}

var errPage = errors.New("the server answers with a page of HTML")

func isPage(header http.Header) bool {
	return strings.HasPrefix(header.Get("Content-Type"), "text/html")
}

func (s *s3Bucket) String() string {
	return strings.TrimSuffix("s3://"+s.bucket+"/"+s.base, "/")
}

// exists returns an error if there is no such bucket. A caller that may not ask for buckets may still ask for objects.
func (s *s3Bucket) exists(ctx context.Context) error {
	ok, err := s.client.BucketExists(ctx, s.bucket)
	r, isResponse := errors.AsType[minio.ErrorResponse](err)
	switch {
	case isResponse && r.StatusCode == http.StatusForbidden && s.clock.clockError(err) == nil:
		return nil
	case err == nil && !ok:
		return fmt.Errorf("%s: %w", s, store.ErrNoStore)
	}
	return s.fail(ctx, "", err)
}

func (s *s3Bucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	var o minio.GetObjectOptions
	o.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-"+strconv.FormatInt(offset+n-1, 10))
	body, _, header, err := s.client.GetObject(ctx, s.bucket, s.base+name, o)
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok && r.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil, nil // the object ends at or before offset
	}
	if err != nil {
		return nil, s.fail(ctx, name, err)
	}
	defer body.Close()
	if offset > 0 && header.Get("Content-Range") == "" {
		return nil, fmt.Errorf("%s/%s: the server does not support ranges", s, name)
	}
	size, _ := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	b, err := readMost(body, n, size)
	if err != nil {
		return nil, s.fail(ctx, name, err)
	}
	return b, nil
}

func (s *s3Bucket) Load(ctx context.Context, name string) ([]byte, bucket.Version, error) {
	body, info, _, err := s.client.GetObject(ctx, s.bucket, s.base+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, "", s.fail(ctx, name, err)
	}
	defer body.Close()
	b, err := readMost(body, bucket.MaxLoad+1, info.Size)
	if err == nil && info.ETag == "" {
		return nil, "", fmt.Errorf("%s/%s: the server does not say the object's version", s, name)
	}
	if err != nil {
		return nil, "", s.fail(ctx, name, err)
	}
	return bucket.Loaded(s.String()+"/"+name, b, bucket.Version(info.ETag))
}

func (s *s3Bucket) Put(ctx context.Context, name string, data []byte) error {
	_, err := s.put(ctx, name, data, minio.PutObjectOptions{})
	return s.fail(ctx, name, err)
}

func (s *s3Bucket) PutIf(ctx context.Context, name string, data []byte, old bucket.Version) (bucket.Version, error) {
	var o minio.PutObjectOptions
	if old == bucket.Absent {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(string(old))
	}
	v, err := s.put(ctx, name, data, o)
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok {
		missing := r.StatusCode == http.StatusNotFound && r.Code != "NoSuchBucket" && old != bucket.Absent
		if missing || r.StatusCode == http.StatusPreconditionFailed {
			return "", fmt.Errorf("%s/%s: %w", s, name, bucket.ErrChanged)
		}
	}
	return v, s.fail(ctx, name, err)
}

// put stores an object in one request. The digest in it lets the server refuse an object that was damaged on the way.
func (s *s3Bucket) put(ctx context.Context, name string, data []byte, o minio.PutObjectOptions) (bucket.Version, error) {
	sum := sha256.Sum256(data)
	o.ContentType, o.DisableContentSha256 = "application/octet-stream", true
	info, err := s.client.PutObject(ctx, s.bucket, s.base+name, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), o)
	if err == nil && info.ETag == "" {
		err = errors.New("the server did not confirm that it stored the object")
	}
	return bucket.Version(info.ETag), err
}

func (s *s3Bucket) Head(ctx context.Context, name string) (int64, error) {
	info, err := s.client.StatObject(ctx, s.bucket, s.base+name, minio.StatObjectOptions{})
	return info.Size, s.fail(ctx, name, err)
}

func (s *s3Bucket) Delete(ctx context.Context, name string) error {
	return s.fail(ctx, name, s.client.RemoveObject(ctx, s.bucket, s.base+name, minio.RemoveObjectOptions{}))
}

// ListPage is the number of objects in one page of a service's listing.
const ListPage = 1000

func (s *s3Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		o := minio.ListObjectsOptions{Prefix: s.base + prefix, Recursive: true, MaxKeys: ListPage}
		if after != "" {
			o.StartAfter = s.base + after
		}
		for info := range s.client.ListObjectsIter(ctx, s.bucket, o) {
			if info.Err != nil {
				yield(bucket.Object{}, s.fail(ctx, prefix, info.Err))
				return
			}
			name := strings.TrimPrefix(info.Key, s.base)
			if name > after && !yield(bucket.Object{Name: name, Size: info.Size, Modified: info.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // the client ends a listing without an error
			yield(bucket.Object{}, err)
		}
	}
}

func (s *s3Bucket) Now(ctx context.Context) (time.Time, error) {
	now, ok := s.clock.now()
	if !ok {
		if err := s.exists(ctx); err != nil {
			return now, err
		}
		if now, ok = s.clock.now(); !ok {
			return now, fmt.Errorf("%s: the server does not tell the time: %w", s, store.ErrUnsupported)
		}
	}
	return now, nil
}

func (s *s3Bucket) Close() error { return nil }

// passingCodes returns the codes of errors that may go away although their status does not say so. Most mean that a request was
// cut short, damaged or late.
func passingCodes() []string {
	return []string{
		"BadDigest", "ConditionalRequestConflict", "ExpiredToken", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeout",
		"RequestTimeTooSkewed", "ServiceUnavailable", "SlowDown", "Throttling", "XAmzContentSHA256Mismatch",
	}
}

// fail adds the name of the object to an error, and says what kind of error it is.
func (s *s3Bucket) fail(ctx context.Context, name string, err error) error {
	about, passes := strings.TrimSuffix(s.String()+"/"+name, "/"), !isFinal(err)
	if wrong := s.clock.clockError(err); wrong != nil {
		err, passes = wrong, false
	} else if r, ok := errors.AsType[minio.ErrorResponse](err); ok {
		passes = isPassingStatus(r.StatusCode) || slices.Contains(passingCodes(), r.Code)
		switch {
		case r.Code == "NoSuchBucket":
			about, err, passes = s.String(), store.ErrNoStore, false
		case r.StatusCode == http.StatusNotFound:
			err, passes = store.ErrNotFound, false
		}
	}
	return failed(ctx, s.String()+" at "+s.client.EndpointURL().Host, about, err, passes)
}

// readMost returns what r has, or its first n bytes. It expects size bytes, and believes that of the first few MiB.
func readMost(r io.Reader, n, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), n, 4<<20)) + bytes.MinRead)
	_, err := io.Copy(&b, io.LimitReader(r, n))
	return b.Bytes(), err
}
