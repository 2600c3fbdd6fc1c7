package objects

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/retry"
	"castar/store/storetest"
	"castar/store/storetest/gorace"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"
)

// services start a server behind wrap, and return a function that opens new clients of the same part of the server.
var services = map[string]func(t *testing.T, wrap func(http.Handler) http.Handler) func(retry.Policy) (bucket.Bucket, error){
	"S3": func(t *testing.T, wrap func(http.Handler) http.Handler) func(retry.Policy) (bucket.Bucket, error) {
		c := buckettest.FakeS3(t, wrap)
		c.Path = "below"
		return func(again retry.Policy) (bucket.Bucket, error) {
			c.Retry = again
			return service.OpenS3(t.Context(), c)
		}
	},
	"HTTP": func(t *testing.T, wrap func(http.Handler) http.Handler) func(retry.Policy) (bucket.Bucket, error) {
		server := buckettest.StartHTTP(t, wrap(buckettest.WebDAV()))
		return func(again retry.Policy) (bucket.Bucket, error) {
			return service.OpenHTTP(t.Context(), service.HTTPConfig{URL: server.JoinPath("below"), Retry: again})
		}
	},
}

// eachService runs a test with each service.
func eachService(t *testing.T, test func(t *testing.T, service string)) {
	t.Parallel()
	for service := range services {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			if service == "S3" {
				storetest.NotUnderRace(t)
			}
			test(t, service)
		})
	}
}

// faulty starts a server behind faults, and returns a function that opens new clients of the same part of the server. No
// faults happen while it opens one.
func faulty(t *testing.T, service string, seed uint64, kinds ...string) (*buckettest.Faults, func() bucket.Bucket) {
	t.Helper()
	f := buckettest.NewFaults(seed, kinds...)
	open := services[service](t, func(h http.Handler) http.Handler {
		f.Server = h
		return f
	})
	return f, func() bucket.Bucket {
		rate := f.Set(0)
		defer f.Set(rate)
		tries, timeout := 12, time.Minute
		if rate == 1 {
			tries = 2 // more do not help
		}
		switch {
		case rate == 0 || !slices.ContainsFunc(kinds, buckettest.Stalls):
		case rate == 1 && len(kinds) == 1:
			timeout = 20 * time.Millisecond // there is never an answer to wait for
		default:
			timeout = 400 * time.Millisecond // a slow answer may take longer: then the request is repeated
		}
		policy := retry.Policy{Tries: tries, First: time.Millisecond, Most: 4 * time.Millisecond, Timeout: timeout}
		b, err := open(policy)
		for try := 1; errors.Is(err, context.DeadlineExceeded) && try < 20; try++ { // the machine is busy
			b, err = open(policy)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// With some faults of one kind, retries succeed. With too many, Sync reports an error. Either way nothing stored is
// damaged.
func TestFaults(t *testing.T) { eachService(t, testFaults) }

// faultOptions makes chunks small, so that few bytes are many requests.
func faultOptions() Options {
	o := s3Options()
	o.AvgChunkSize = 16 << 10
	return o
}

func testFaults(t *testing.T, service string) {
	blobs := [][]byte{nil, []byte("small"), inputs()["blob B"][:60_000], inputs()["counters"][:100_000]}
	for i, kind := range kindsOf(service) {
		for _, rate := range []float64{0.25, 1} {
			t.Run(fmt.Sprintf("%s, %v", kind, rate), func(t *testing.T) {
				t.Parallel()
				f, open := faulty(t, service, uint64(i), kind)
				f.Set(rate)
				st := openBucket(t, open(), faultOptions())
				err := fill(t, st, blobs)
				if kind == "body cut by a proxy" && rate < 1 && isTruncation(err) {
					err = nil // half an object counts as damage if it comes twice
				} else if rate < 1 && err != nil {
					t.Errorf("store: %v", err)
				}
				if late := buckettest.Stalls(kind) && rate == 1; f.Count() == 0 && !late { // a call may end before the server has it
					t.Error("no faults")
				}
				harmless := strings.HasPrefix(kind, "body ") // does not affect uploads
				if err == nil && rate == 1 && !harmless {
					t.Error("Sync succeeds")
				}
				if kind != "upload cut" && kind != "body stalled" || err == nil { // otherwise a blob may be absent
					checkReads(t, st, blobs, rate < 1)
				}
				f.Set(0)
				st.Close()
				checkObjects(t, open())
				if err == nil {
					whole := openBucket(t, open(), faultOptions())
					checkReads(t, whole, blobs, true)
					whole.Close()
				}
			})
		}
	}
}

// kindsOf returns the faults of a service. File servers send a page of HTML for what they lack.
func kindsOf(service string) []string {
	return slices.DeleteFunc(buckettest.Kinds(), func(kind string) bool { return service == "HTTP" && kind == "page of HTML" })
}

func isTruncation(err error) bool { return err == nil || store.IsCorrupt(err) }

// checkReads reads blobs. Each must come out right or fail, but not with store.ErrNotFound. If well is set, the only
// failure allowed is damage, which may come from the network.
func checkReads(t *testing.T, st *store.Store, blobs [][]byte, well bool) {
	t.Helper()
	for _, data := range blobs {
		b, err := st.Blobs.Open(t.Context(), store.Sum(data))
		if err == nil {
			var out bytes.Buffer
			if _, err = b.WriteTo(&out); err == nil && !bytes.Equal(out.Bytes(), data) {
				t.Errorf("read %d bytes that are not the blob, and no error", out.Len())
			}
			b.Close()
		}
		if store.IsNotFound(err) || well && err != nil && !store.IsCorrupt(err) {
			t.Errorf("blob of %d bytes: %v", len(data), err)
		}
	}
}

// checkObjects checks that every object in a Bucket is what its name says, and that what a list of chunks promises exists.
func checkObjects(t *testing.T, b bucket.Bucket) {
	t.Helper()
	objects := objectsOf(t, b)
	st := openBucket(t, b, faultOptions())
	defer st.Close()
	for name := range objects {
		if d, ok := digestOf(chunksPrefix, name); ok && store.Sum(unzstd(t, objects[name])) != d {
			t.Errorf("%s is damaged", name)
		}
		if d, ok := digestOf(blobsPrefix, name); ok {
			if _, err := readAll(t, st, d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if d, ok := digestOf(dirsPrefix, name); ok {
			if _, err := walkDigests(t.Context(), st, d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Faults of all kinds at once.
func TestManyFaults(t *testing.T) { eachService(t, testManyFaults) }

func testManyFaults(t *testing.T, service string) {
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f, open := faulty(t, service, seed, kindsOf(service)...)
			f.Set(0.3)
			st := openBucket(t, open(), faultOptions())
			blobs := [][]byte{[]byte("a"), []byte("b"), inputs()["counters"][:130_000]}
			err := fill(t, st, blobs)
			if err == nil {
				checkReads(t, st, blobs, false)
			}
			st.Close()
			f.Set(0)
			checkObjects(t, open())
			if err == nil {
				checkReads(t, openBucket(t, open(), faultOptions()), blobs, true)
			}
		})
	}
}

// A service that is gone proves no absence, and a final error is not retried.
func TestUnavailable(t *testing.T) { eachService(t, testUnavailable) }

func testUnavailable(t *testing.T, service string) {
	f, open := faulty(t, service, 1, "status 500")
	f.Set(1)
	st := openBucket(t, open(), s3Options())
	defer st.Close()
	ctx, d := t.Context(), store.Sum([]byte("x"))
	if has, err := st.Blobs.Has(ctx, d); has || err == nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	for what, err := range map[string]error{
		"Open":        second(st.Blobs.Open(ctx, d)),
		"Chunks":      second(st.Blobs.Chunks(ctx, d)),
		"Get":         second(st.Directories.Get(ctx, d)),
		"tag":         second(st.Tags.Get(ctx, "tag")),
		"Walk":        second(walkDigests(ctx, st, d)),
		"Put":         second(st.Blobs.Put(ctx, []byte("x"))),
		"Set":         st.Tags.Set(ctx, store.Tag{Name: "tag", Root: store.Node{Kind: store.KindFile}}),
		"Delete":      st.Tags.Delete(ctx, "tag"),
		"All":         errorOf(st.Tags.All(ctx)),
		"Log":         errorOf(st.Tags.Log(ctx)),
		"List":        errorOf(st.Lister.List(ctx, d, 4)),
		"cancelled":   cancelled(st, d),
		"Upload+Sync": fill(t, st, [][]byte{[]byte("y")}),
	} {
		if err == nil || store.IsNotFound(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	before := f.Count()
	f.Answer(http.StatusForbidden)
	if _, err := open().Head(ctx, "x"); err == nil || store.IsNotFound(err) || f.Count() != before+1 {
		t.Errorf("forbidden: %v, after %d requests", err, f.Count()-before)
	}
}

func second[T any](_ T, err error) error { return err }

func errorOf[T any](seq func(func(T, error) bool)) (err error) {
	seq(func(_ T, e error) bool {
		err = e
		return e == nil
	})
	return err
}

func cancelled(st *store.Store, d store.Digest) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := st.Blobs.Open(ctx, d)
	if !errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// A large object is read in ranges. The last may be full.
func TestReaderRanges(t *testing.T) {
	t.Parallel()
	data := make([]byte, 2*rangeSize+1)
	rand.NewChaCha8([32]byte{}).Read(data)
	b, err := service.OpenS3(t.Context(), buckettest.FakeS3(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	q := newQueue(b, 1, false)
	defer q.close()
	for _, size := range []int{0, 1, rangeSize - 1, rangeSize, rangeSize + 1, 2 * rangeSize, 2*rangeSize + 1} {
		if err := b.Put(t.Context(), "x", data[:size]); err != nil {
			t.Fatal(err)
		}
		r, err := q.newReader(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[:size]) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
	}
}

// Many tests here wait to ask a service again. They should not keep other tests waiting.
func TestMain(m *testing.M) {
	gorace.Restart()
	flag.Parse()
	minio.DefaultRetryUnit = time.Millisecond // the client waits that long after a last try, too
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		flag.Set(f.Name, strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), // connections that are kept for the next request
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	)
}
