package service_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/retry"
	"castar/store/storetest"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// openS3 opens a new part of a bucket.
func openS3(t *testing.T, c service.S3Config) bucket.Bucket {
	t.Helper()
	c.Path = "a path/" + rand.Text()
	b, err := service.OpenS3(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestS3(t *testing.T) {
	t.Parallel()
	servers := []struct {
		name  string
		start func(*testing.T) service.S3Config
	}{
		{"gofakes3", func(t *testing.T) service.S3Config { return buckettest.FakeS3(t, nil) }},
		{"versitygw", buckettest.Versitygw},
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := s.start(t)
			t.Run("bucket", func(t *testing.T) { buckettest.Check(t, openS3(t, c)) })
			t.Run("absent", func(t *testing.T) { absentBucket(t, c) })
		})
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) { buckettest.Check(t, bucket.NewMemory()) })
	t.Run("file", func(t *testing.T) {
		b, err := bucket.OpenFile(t.TempDir(), "own/", false)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buckettest.Check(t, b)
	})
}

func absentBucket(t *testing.T, c service.S3Config) {
	c.Bucket = "castar-absent"
	if _, err := service.OpenS3(t.Context(), c); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("absent bucket: %v", err)
	}
	c.AllowHTTP = false
	if _, err := service.OpenS3(t.Context(), c); err == nil || !strings.Contains(err.Error(), "aws_allow_http") {
		t.Errorf("endpoint without TLS: %v", err)
	}
}

// A wrong secret is an error of OpenS3 or of the first call, and never looks like absence.
func TestS3Denied(t *testing.T) {
	t.Parallel()
	c := buckettest.Versitygw(t)
	c.Secret = "wrongsecret1"
	b, err := service.OpenS3(t.Context(), c)
	if err == nil {
		_, err = b.Head(t.Context(), "x")
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) || r.StatusCode != http.StatusForbidden || store.IsNotFound(err) || errors.Is(err, store.ErrNoStore) {
		t.Errorf("wrong secret: %v", err)
	}
}

// A listing may be longer than a page. Only the pages needed are asked for.
func TestS3Pages(t *testing.T) {
	storetest.NotUnderRace(t)
	t.Parallel()
	requests := 0
	c := buckettest.FakeS3(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
				requests++
			}
			h.ServeHTTP(w, r)
		})
	})
	b := openS3(t, c)
	const pages = 3
	var want []string
	for i := range (pages-1)*service.ListPage + 1 {
		name := "blobs/" + store.Sum([]byte{byte(i), byte(i >> 8)}).String()
		want = append(want, name)
		if err := b.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	if got := buckettest.List(t, b, "blobs/", ""); !slices.Equal(got, want) || requests != pages {
		t.Errorf("%d names in %d requests, want %d in %d", len(got), requests, len(want), pages)
	}
	requests = 0
	n := 0
	for range b.List(t.Context(), "blobs/", want[10]) {
		if n++; n == 5 {
			break
		}
	}
	if requests != 1 {
		t.Errorf("%d requests for the first names, want 1", requests)
	}
}

// An object that is too large for one request is sent in parts. What interrupted uploads left can be removed; what begins
// later stays.
func TestS3Parts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := buckettest.Versitygw(t)
	b := openS3(t, c)
	data := make([]byte, 64<<20+1)
	copy(data[32<<20:], "in the middle")
	if err := b.PutLarge(ctx, "large", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Head(ctx, "large"); n != int64(len(data)) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if got, err := b.Get(ctx, "large", 32<<20, 13); string(got) != "in the middle" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if err := b.PutLarge(ctx, "short", bytes.NewReader(data[1:]), int64(len(data))); err == nil {
		t.Error("PutLarge of a reader that ends too soon succeeds")
	}
	client, err := minio.NewCore(strings.TrimPrefix(c.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(c.KeyID, c.Secret, ""), Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimPrefix(b.String(), "s3://"+c.Bucket+"/") + "/"
	count := func() int {
		r, err := client.ListMultipartUploads(ctx, c.Bucket, prefix, "", "", "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Uploads)
	}
	if n := count(); n != 0 {
		t.Errorf("%d uploads left after a failure, want none", n)
	}
	if _, err := client.NewMultipartUpload(ctx, c.Bucket, prefix+"left", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		age  time.Duration
		want int
	}{{time.Hour, 1}, {-time.Hour, 0}} {
		now, err := b.Now(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AbortUploads(ctx, now.Add(-tt.age)); err != nil {
			t.Error(err)
		}
		if n := count(); n != tt.want {
			t.Errorf("%d uploads left when those older than %v were removed, want %d", n, tt.age, tt.want)
		}
	}
}

// A single writer always wins, although answers are lost: PutIf finds what it has written.
func TestPutIfLostAnswers(t *testing.T) {
	t.Parallel()
	f := buckettest.NewFaults(1, "cut after", "status 500", "cut before", "body cut by the connection")
	c := buckettest.FakeS3(t, func(h http.Handler) http.Handler {
		f.Server = h
		return f
	})
	c.Retry = retry.Policy{Tries: 20, First: time.Microsecond, Most: time.Millisecond, Timeout: time.Minute}
	b := openS3(t, c)
	f.Set(0.5)
	version := bucket.Absent
	for i := range 50 {
		var err error
		if version, err = b.PutIf(t.Context(), "head", fmt.Append(nil, i), version); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	if f.Count() < 20 {
		t.Errorf("only %d faults", f.Count())
	}
	if _, err := b.PutIf(t.Context(), "head", []byte("x"), bucket.Absent); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("PutIf of an old version: %v", err)
	}
}

// A service refuses what is signed by a clock that is wrong. The error says so, and nobody asks again.
func TestS3WrongClock(t *testing.T) {
	t.Parallel()
	for ahead, want := range map[time.Duration]string{
		72 * time.Hour: " behind that of the service: ", -72 * time.Hour: " ahead of that of the service: ",
	} {
		clock, requests := new(buckettest.Clock), 0
		clock.Set(ahead)
		c := buckettest.SkewedS3(t, clock, 15*time.Minute, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests++; h.ServeHTTP(w, r) })
		})
		want = "the clock of this machine is 72h0m0s" + want
		if _, err := service.OpenS3(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open: %v, want %q", err, want)
		}
		c.Unasked = true
		b, err := service.OpenS3(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Load(t.Context(), "head")
		_, put := b.PutIf(t.Context(), "head", nil, bucket.Absent)
		for _, err := range []error{err, put, b.Put(t.Context(), "x", nil)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if requests != 4 {
			t.Errorf("%d requests, want 4", requests)
		}
	}
}
