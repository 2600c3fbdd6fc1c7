package objects

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/service"
)

// counting counts the requests that a service would get: one for each call, or one for each page of a listing.
type counting struct {
	bucket.Bucket
	mu    sync.Mutex
	calls map[string]int
}

func newCounting(b bucket.Bucket) *counting { return &counting{Bucket: b, calls: map[string]int{}} }

func (c *counting) count(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[call]++
}

func (c *counting) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	c.count("Get")
	return c.Bucket.Get(ctx, name, offset, n)
}

func (c *counting) Head(ctx context.Context, name string) (int64, error) {
	c.count("Head")
	return c.Bucket.Head(ctx, name)
}

func (c *counting) Put(ctx context.Context, name string, data []byte) error {
	c.count("Put")
	return c.Bucket.Put(ctx, name, data)
}

func (c *counting) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		n := 0
		for o, err := range c.Bucket.List(ctx, prefix, after) {
			if n++; n%service.ListPage == 1 {
				c.count("List")
			}
			if !yield(o, err) {
				return
			}
		}
		if n == 0 {
			c.count("List")
		}
	}
}

// want checks that there were at most the given numbers of calls, and resets the counts.
func (c *counting) want(t *testing.T, what string, most map[string]int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%s: %v", what, c.calls)
	for call, n := range c.calls {
		if n > most[call] {
			t.Errorf("%s: %d calls of %s, want at most %d", what, n, call, most[call])
		}
	}
	c.calls = map[string]int{}
}

// An ingest costs two requests for each new small file. Repeating it costs hardly any.
func TestRequests(t *testing.T) {
	t.Parallel()
	const n = 5000
	c := newCounting(bucket.NewMemory())
	blob := func(i int) []byte { return fmt.Appendf(nil, "file %d", i) }
	ingest := func(first, last int) {
		t.Helper()
		st := openBucket(t, c, s3Options())
		defer st.Close()
		for i := first; i < last; i++ {
			if _, err := st.Blobs.Put(t.Context(), blob(i)); err != nil {
				t.Fatal(err)
			}
		}
		dirs, _ := fixtures(t, store.SizeDocumented)
		w, err := st.Directories.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		var root store.Digest
		for _, dir := range dirs {
			if root, err = w.Put(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Commit(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ingest(0, n)
	c.want(t, "new", map[string]int{"Put": 2*n + 2, "Head": 40, "List": 1})
	ingest(0, n)
	c.want(t, "again", map[string]int{"Head": 40, "List": n/service.ListPage + 2})
	ingest(0, 20)
	c.want(t, "a small part again", map[string]int{"Head": 25})
	ingest(n, n+20)
	c.want(t, "a little more", map[string]int{"Put": 40, "Head": 25})

	st := openBucket(t, c, s3Options())
	defer st.Close()
	for i := range n {
		if has, err := st.Blobs.Has(t.Context(), store.Sum(blob(i))); err != nil || !has {
			t.Fatalf("Has = %v, %v", has, err)
		}
	}
	c.want(t, "Has of all", map[string]int{"Head": 40, "List": n/service.ListPage + 2})
	for range 100 {
		if has, err := st.Blobs.Has(t.Context(), store.Sum([]byte("absent"))); err != nil || has {
			t.Fatalf("Has of nothing = %v, %v", has, err)
		}
	}
	if c.calls["Head"] < 100 { // somebody else may have stored it
		t.Errorf("Has of nothing: %v", c.calls)
	}
}

// A few questions do not cause a listing of a large store.
func TestRequestsOfLargeStore(t *testing.T) {
	t.Parallel()
	const n = 16_000
	m := bucket.NewMemory()
	for i := range n {
		if err := m.Put(t.Context(), blobName(store.Sum(fmt.Appendf(nil, "%d", i))), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, questions := range []int{10, 50, 100, 400, 5000} {
		c := newCounting(m)
		p := newPresence(newQueue(c, 1, false), blobsPrefix, blobName, service.ListPage)
		for i := range questions {
			if has, err := p.has(t.Context(), store.Sum(fmt.Appendf(nil, "%d", i*3))); err != nil || !has {
				t.Fatalf("has = %v, %v", has, err)
			}
		}
		best := min(questions, n/service.ListPage)
		c.want(t, fmt.Sprintf("%d questions", questions), map[string]int{"Head": best + firstListing, "List": min(n/service.ListPage+2, questions)})
	}
}

// Reading directories of a closure gets the closure only once. A store that is opened again learns from the lists what is
// in closures.
func TestRequestsForDirectories(t *testing.T) {
	t.Parallel()
	c := newCounting(bucket.NewMemory())
	st := openBucket(t, c, s3Options())
	if err := fill(t, st, nil); err != nil {
		t.Fatal(err)
	}
	st.Close()
	c.want(t, "upload", map[string]int{"Put": 2, "Head": 1})
	_, d := encoded(t, store.SizeDocumented)
	st = openBucket(t, c, s3Options())
	defer st.Close()
	get := func(name string) {
		t.Helper()
		if _, err := st.Directories.Get(t.Context(), d[name]); err != nil {
			t.Fatal(err)
		}
	}
	get("B")
	c.want(t, "Get of a child", map[string]int{"Get": 4, "List": 2}) // its closure, it alone, the list, the other closure
	for _, name := range []string{"A", "B", "D", "E"} {
		get(name)
	}
	c.want(t, "Get of the others", nil)
	if _, err := walkDigests(t.Context(), openBucket(t, c, s3Options()), d["E"]); err != nil {
		t.Fatal(err)
	}
	c.want(t, "Walk", map[string]int{"Get": 1})
}

// Uploads at one time are bounded, and a blob of many chunks is read ahead.
func TestBounds(t *testing.T) {
	t.Parallel()
	slow := &gate{Bucket: bucket.NewMemory(), open: make(chan struct{})}
	st := openBucket(t, slow, Options{Concurrency: 4})
	data := inputs()["counters"]
	done := make(chan error, 1)
	go func() {
		w, err := st.Blobs.Create(t.Context())
		if err == nil {
			_, err = w.Write(append(data[:len(data):len(data)], data...))
		}
		if err == nil {
			_, err = w.Commit()
		}
		done <- err
	}()
	slow.wait(4)
	close(slow.open)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if slow.most != 4 {
		t.Errorf("%d uploads at once, want 4", slow.most)
	}
	st.Close()
}

// gate holds all uploads until it opens.
type gate struct {
	bucket.Bucket
	open chan struct{}

	mu         sync.Mutex
	now, most  int
	changed    *sync.Cond
	changeOnce sync.Once
}

func (g *gate) cond() *sync.Cond {
	g.changeOnce.Do(func() { g.changed = sync.NewCond(&g.mu) })
	return g.changed
}

func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, chunksPrefix) {
		g.mu.Lock()
		g.now++
		g.most = max(g.most, g.now)
		g.cond().Broadcast()
		g.mu.Unlock()
		<-g.open
		defer func() {
			g.mu.Lock()
			g.now--
			g.mu.Unlock()
		}()
	}
	return g.Bucket.Put(ctx, name, data)
}

// wait waits until n uploads are held.
func (g *gate) wait(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.now < n {
		g.cond().Wait()
	}
}
