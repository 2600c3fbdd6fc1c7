package tier_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
	"castar/store/tier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	for _, name := range []string{"near only", "write through"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) *store.Store {
				return tier.New(memory.New(), memory.New(), tier.Options{WriteThrough: name == "write through"})
			})
		})
	}
}

// Blobs put by a lane, in a group or by their chunks go where other blobs go. A blob can be joined even if only the far
// store has its chunks.
func TestWritesByOtherWays(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		ways := &putAll{Blobs: near.Blobs}
		near.Groups, near.Joins = ways, ways
		farWays := &putAll{Blobs: far.Blobs}
		far.Groups, far.Joins = farWays, farWays
		st := tier.New(near, far, tier.Options{WriteThrough: through})

		d := put(t, st.Lane(), []byte("lane"))
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)

		digests, err := st.Groups.PutGroup(t.Context(), []byte("ab"), []int{1, 1}, nil)
		if err != nil || len(digests) != 2 {
			t.Fatal(digests, err)
		}
		wantHas(t, near.Blobs, digests[1], true)
		wantHas(t, far.Blobs, digests[1], through)

		a, b := put(t, far.Blobs, []byte("first ")), put(t, far.Blobs, []byte("second"))
		whole := store.Sum([]byte("first second"))
		if err := st.Joins.Join(t.Context(), whole, []store.Chunk{{Digest: a, Size: 6}, {Digest: b, Size: 6}}); err != nil {
			t.Fatal(err)
		}
		wantHas(t, near.Blobs, whole, true)
		wantHas(t, far.Blobs, whole, through)
		if _, err := st.Groups.Group(t.Context(), put(t, far.Blobs, []byte("far only"))); !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("the group of a blob that only the far store has: %v", err)
		}
		err = st.Joins.Join(t.Context(), store.Sum([]byte("x")), []store.Chunk{{Digest: store.Digest{1}, Size: 1}})
		if !store.IsNotFound(err) {
			t.Errorf("a chunk that neither has: %v", err)
		}
	}
}

// putAll stores groups and joined blobs as plain ones.
type putAll struct{ store.Blobs }

func (p *putAll) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrNotFound
}

func (p *putAll) PutGroup(ctx context.Context, raw []byte, sizes []int, _ []byte) (digests []store.Digest, err error) {
	for _, n := range sizes {
		d, err := p.Put(ctx, raw[:n])
		if err != nil {
			return nil, err
		}
		digests, raw = append(digests, d), raw[n:]
	}
	return digests, nil
}

func (p *putAll) ChunkSize() int { return 256 << 10 }

func (p *putAll) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	var data []byte
	for _, c := range chunks {
		blob, err := p.Open(ctx, c.Digest)
		if err != nil {
			return err
		}
		part, err := io.ReadAll(blob)
		if err != nil {
			return err
		}
		data = append(data, part...)
	}
	_, err := p.Put(ctx, data)
	return err
}

// readThrough is a store whose writes go to far alone, so that readers find near only what was fetched.
func readThrough() *store.Store {
	near, far := memory.New(), memory.New()
	cut := &cutting{Blobs: far.Blobs}
	st := tier.New(near, far, tier.Options{})
	st.Blobs = putTo{&tier.Blobs{Near: near.Blobs, Far: cut}, cut}
	st.Directories = putDirsTo{&tier.Directories{Near: near.Directories, Far: far.Directories}, far.Directories}
	return st
}

type putTo struct {
	store.Blobs
	to store.Blobs
}

func (p putTo) Put(ctx context.Context, b []byte) (store.Digest, error) { return p.to.Put(ctx, b) }
func (p putTo) Create(ctx context.Context) (store.BlobWriter, error)    { return p.to.Create(ctx) }

type putDirsTo struct {
	store.Directories
	to store.Directories
}

func (p putDirsTo) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	return p.to.Put(ctx, dir)
}
func (p putDirsTo) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	return p.to.Upload(ctx)
}

func TestReadThrough(t *testing.T) {
	storetest.Run(t, func(*testing.T) *store.Store { return readThrough() })
}

// cutting says that blobs are made of chunks of one length, and has each chunk as a blob.
type cutting struct {
	store.Blobs
	lie func([]store.Chunk) []store.Chunk
}

const cutLength = 100_000

func (c *cutting) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	blob, err := c.Blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(blob)
	if err != nil || len(data) <= cutLength {
		return nil, err
	}
	var chunks []store.Chunk
	for len(data) > 0 {
		n := min(len(data), cutLength)
		cd, err := c.Blobs.Put(ctx, data[:n])
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, store.Chunk{Digest: cd, Size: uint64(n)})
		data = data[n:]
	}
	if c.lie != nil {
		chunks = c.lie(chunks)
	}
	return chunks, nil
}

// counting counts calls, and fails them if told to.
type counting struct {
	store.Blobs
	opens, puts, creates atomic.Int64
	gate                 chan struct{} // Open waits for it to be closed, unless it is nil
	err                  error         // of every call that reads
}

func (c *counting) Has(ctx context.Context, d store.Digest) (bool, error) {
	if c.err != nil {
		return false, c.err
	}
	return c.Blobs.Has(ctx, d)
}

func (c *counting) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c.opens.Add(1)
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return c.Blobs.Open(ctx, d)
}

func (c *counting) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.Blobs.Chunks(ctx, d)
}

func (c *counting) Put(ctx context.Context, b []byte) (store.Digest, error) {
	c.puts.Add(1)
	return c.Blobs.Put(ctx, b)
}

func (c *counting) Create(ctx context.Context) (store.BlobWriter, error) {
	c.creates.Add(1)
	return c.Blobs.Create(ctx)
}

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(t *testing.T, b store.Blobs, data []byte) store.Digest {
	t.Helper()
	d, err := b.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(ctx context.Context, b store.Blobs, d store.Digest) ([]byte, error) {
	blob, err := b.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var buf bytes.Buffer
	_, err = blob.WriteTo(&buf)
	return buf.Bytes(), err
}

func wantRead(t *testing.T, b store.Blobs, d store.Digest, want []byte) {
	t.Helper()
	if got, err := read(t.Context(), b, d); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
}

func wantHas(t *testing.T, b store.Blobs, d store.Digest, want bool) {
	t.Helper()
	if has, err := b.Has(t.Context(), d); has != want || err != nil {
		t.Errorf("Has = %v, %v, want %v", has, err, want)
	}
}

// A blob that was read once is in Near, whatever its length and whether or not it has chunks. Far is not asked again.
func TestFills(t *testing.T) {
	tests := []struct {
		name string
		size int
		cut  bool
	}{
		{"empty", 0, false}, {"short", 1000, false}, {"short, in chunks", 300_000, true},
		{"long", 2 << 20, false}, {"long, in chunks", 2 << 20, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near, backing := memory.New().Blobs, memory.New().Blobs
			far := &counting{Blobs: backing}
			if tt.cut {
				far.Blobs = &cutting{Blobs: backing}
			}
			b := &tier.Blobs{Near: near, Far: far}
			data := random(1, tt.size)
			d := put(t, backing, data)
			wantHas(t, b, d, true)
			wantHas(t, near, d, false)
			wantRead(t, b, d, data)
			wantRead(t, near, d, data)
			before := far.opens.Load()
			wantRead(t, b, d, data)
			if far.opens.Load() != before {
				t.Error("fetched again")
			}
			if far.puts.Load()+far.creates.Load() > 0 {
				t.Error("reading wrote to Far")
			}
		})
	}
}

// Read fills Near as WriteTo does. Reading parts of a blob leaves their chunks in Near.
func TestFillsByRead(t *testing.T) {
	near, far := memory.New().Blobs, &cutting{Blobs: memory.New().Blobs}
	b := &tier.Blobs{Near: near, Far: far}
	data := random(1, 2<<20)
	d := put(t, far, data)
	chunks, err := far.Chunks(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := b.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if _, err := blob.Seek(3*cutLength+5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := blob.Read(one); err != nil || one[0] != data[3*cutLength+5] {
		t.Fatalf("read %x, %v", one, err)
	}
	for i := range 5 {
		wantHas(t, near, chunks[i].Digest, i == 3)
	}
	if _, err := blob.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(struct{ io.Reader }{blob})
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	wantRead(t, near, d, data)
}

// Only chunks that Near lacks are fetched.
func TestFetchesWhatIsMissing(t *testing.T) {
	backing := memory.New().Blobs
	far := &counting{Blobs: &cutting{Blobs: backing}}
	near := memory.New().Blobs
	b := &tier.Blobs{Near: near, Far: far}
	data := random(1, 20*cutLength)
	d := put(t, backing, data)
	for i := range 20 {
		if i != 7 && i != 13 {
			put(t, near, data[i*cutLength:][:cutLength])
		}
	}
	wantRead(t, b, d, data)
	if n := far.opens.Load(); n != 1+2 {
		t.Errorf("%d blobs of Far opened, want the blob and 2 chunks", n)
	}
}

// Readers that come while a blob is fetched wait for it. Later readers find it in Near.
func TestFetchesOnce(t *testing.T) {
	for _, size := range []int{1000, 2 << 20} {
		far := &counting{Blobs: memory.New().Blobs, gate: make(chan struct{})}
		b := &tier.Blobs{Near: memory.New().Blobs, Far: far}
		data := random(1, size)
		d := put(t, far, data)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if i == 5 {
					close(far.gate)
				}
				if got, err := read(t.Context(), b, d); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		if n := far.opens.Load(); n != 1 {
			t.Errorf("%d bytes: fetched %d times", size, n)
		}
	}
}

// A fetch ends when its last reader gives up.
func TestFetchCanceled(t *testing.T) {
	far := &counting{Blobs: memory.New().Blobs, gate: make(chan struct{})}
	b := &tier.Blobs{Near: memory.New().Blobs, Far: far}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Open(ctx, store.Sum(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

var errBroken = errors.New("broken")

// An error of a store is not taken to mean that it lacks something.
func TestErrorsAreNotAbsence(t *testing.T) {
	data := []byte("x")
	for _, broken := range []string{"near", "far"} {
		near, far := &counting{Blobs: memory.New().Blobs}, &counting{Blobs: memory.New().Blobs}
		b := &tier.Blobs{Near: near, Far: far}
		d := store.Sum(data)
		if broken == "near" {
			put(t, far, data)
			near.err = errBroken
		} else {
			far.err = errBroken
		}
		_, hasErr := b.Has(t.Context(), d)
		_, openErr := b.Open(t.Context(), d)
		_, chunksErr := b.Chunks(t.Context(), d)
		for _, err := range []error{hasErr, openErr, chunksErr} {
			if !errors.Is(err, errBroken) || store.IsNotFound(err) {
				t.Errorf("%s is broken: error %v", broken, err)
			}
		}
	}
}

// A blob of Near that lacks a chunk is damaged, although the reason is ErrNotFound.
func TestDamageIsNotAbsence(t *testing.T) {
	damage := &store.CorruptError{Err: store.ErrNotFound}
	far := memory.New().Blobs
	b := &tier.Blobs{Near: &counting{Blobs: memory.New().Blobs, err: damage}, Far: far}
	if _, err := b.Open(t.Context(), put(t, far, []byte("x"))); !errors.Is(err, damage) {
		t.Errorf("error %v, want the damage of Near", err)
	}
}

// lying returns other bytes than it was asked for. No store should, but what is stored is checked all the same.
type lying struct {
	store.Blobs
	data []byte
}

func (l lying) Open(context.Context, store.Digest) (store.Blob, error) {
	d, err := l.Blobs.Put(context.Background(), l.data)
	if err != nil {
		return nil, err
	}
	return l.Blobs.Open(context.Background(), d)
}

func (l lying) Chunks(context.Context, store.Digest) ([]store.Chunk, error) { return nil, nil }

func TestLies(t *testing.T) {
	for _, size := range []int{10, 2 << 20} {
		near := &counting{Blobs: memory.New().Blobs}
		b := &tier.Blobs{Near: near, Far: lying{memory.New().Blobs, random(2, size)}}
		_, err := read(t.Context(), b, store.Sum(random(1, size)))
		if !errors.Is(err, store.ErrDigestMismatch) {
			t.Errorf("%d bytes: error %v", size, err)
		}
		wantHas(t, near, store.Sum(random(2, size)), false)
	}
}

// A wrong list of chunks is detected, and the blob that it makes is not kept.
func TestWrongChunks(t *testing.T) {
	absent := store.Chunk{Digest: store.Sum([]byte("absent")), Size: cutLength}
	tests := []struct {
		name string
		lie  func([]store.Chunk) []store.Chunk
		want string
	}{
		{"one is left out", func(c []store.Chunk) []store.Chunk { return c[1:] }, "chunks of 1900000 bytes, want 2000000"},
		{"two are exchanged", func(c []store.Chunk) []store.Chunk { c[3], c[4] = c[4], c[3]; return c }, "digest mismatch"},
		{"one is absent", func(c []store.Chunk) []store.Chunk { c[5] = absent; return c }, "not found"},
		{"a length is wrong", func(c []store.Chunk) []store.Chunk { c[0].Size++; c[1].Size--; return c }, "chunk of 100000 bytes, want 100001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			near := memory.New().Blobs
			far := &cutting{Blobs: memory.New().Blobs, lie: tt.lie}
			b := &tier.Blobs{Near: near, Far: far}
			d := put(t, far, random(1, 20*cutLength))
			_, err := read(t.Context(), b, d)
			if _, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			wantHas(t, near, d, false)
		})
	}
}

// A blob with chunks too long to hold in memory is read as if it had none.
func TestLongChunks(t *testing.T) {
	far := &cutting{Blobs: memory.New().Blobs, lie: func([]store.Chunk) []store.Chunk {
		return []store.Chunk{{Digest: store.Sum(nil), Size: 1 << 62}}
	}}
	data := random(1, 2<<20)
	wantRead(t, &tier.Blobs{Near: memory.New().Blobs, Far: far}, put(t, far, data), data)
}

// readOnly refuses writes.
type readOnly struct{ store.Blobs }

func (readOnly) Put(context.Context, []byte) (store.Digest, error) {
	return store.Digest{}, store.ErrReadOnly
}
func (readOnly) Create(context.Context) (store.BlobWriter, error) { return nil, store.ErrReadOnly }

func TestReadOnlyNear(t *testing.T) {
	for _, cut := range []bool{false, true} {
		var far store.Blobs = memory.New().Blobs
		if cut {
			far = &cutting{Blobs: far}
		}
		b := &tier.Blobs{Near: readOnly{memory.New().Blobs}, Far: far}
		for _, size := range []int{0, 1000, 2 << 20} {
			data := random(1, size)
			wantRead(t, b, put(t, far, data), data)
		}
	}
}

func TestWrites(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		st := tier.New(near, far, tier.Options{WriteThrough: through})
		d := put(t, st.Blobs, []byte("x"))
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)
		w, err := st.Blobs.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := io.WriteString(w, "y"); err != nil {
			t.Fatal(err)
		}
		if d, err = w.Commit(); err != nil || d != store.Sum([]byte("y")) {
			t.Fatalf("Commit = %s, %v", d, err)
		}
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)

		// A caller that is told a blob exists does not put it, and far would never get it.
		wantHas(t, st.Blobs, put(t, near.Blobs, []byte("near only")), !through)
	}
}

// full refuses every blob at its end.
type full struct{ store.Blobs }

func (full) Put(context.Context, []byte) (store.Digest, error) { return store.Digest{}, errBroken }
func (f full) Create(ctx context.Context) (store.BlobWriter, error) {
	w, err := f.Blobs.Create(ctx)
	return fullWriter{w}, err
}

type fullWriter struct{ store.BlobWriter }

func (fullWriter) Commit() (store.Digest, error) { return store.Digest{}, errBroken }

// Writing through succeeds only if both stores have the blob, and fetching only if Near keeps it.
func TestOneIsFull(t *testing.T) {
	for _, isFull := range []string{"near", "far"} {
		near, far := memory.New().Blobs, memory.New().Blobs
		b := &tier.Blobs{Near: near, Far: full{far}, WriteThrough: true}
		if isFull == "near" {
			b.Near, b.Far = full{near}, far
		}
		if _, err := b.Put(t.Context(), []byte("x")); !errors.Is(err, errBroken) {
			t.Errorf("%s is full: Put: error %v", isFull, err)
		}
		w, err := b.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); !errors.Is(err, errBroken) {
			t.Errorf("%s is full: Commit: error %v", isFull, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if isFull == "far" {
			wantHas(t, near, store.Sum(nil), false)
			continue
		}
		for _, size := range []int{1000, 2 << 20} {
			if _, err := read(t.Context(), b, put(t, far, random(1, size))); !errors.Is(err, errBroken) {
				t.Errorf("%d bytes that Near cannot keep: error %v", size, err)
			}
		}
	}
}

// barrier records the calls of two barriers, in order.
type barrier struct {
	name  string
	calls *[]string
	err   error
}

func (b barrier) Sync(context.Context) error {
	*b.calls = append(*b.calls, "sync "+b.name)
	return b.err
}
func (b barrier) Close() error { *b.calls = append(*b.calls, "close "+b.name); return b.err }

func TestBarrier(t *testing.T) {
	var calls []string
	near, far := memory.New(), memory.New()
	near.Barrier, far.Barrier = barrier{"near", &calls, nil}, barrier{"far", &calls, nil}
	st := tier.New(near, far, tier.Options{})
	if err := errors.Join(st.Sync(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	const want = "sync far, sync near, sync near, close near, close far"
	if got := strings.Join(calls, ", "); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	far.Barrier = barrier{"far", &calls, errBroken}
	st = tier.New(near, far, tier.Options{})
	if err := st.Sync(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("Sync: error %v", err)
	}
	if err := st.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close: error %v", err)
	}
}

// A part that only one store has is taken from that store.
func TestParts(t *testing.T) {
	a, b := memory.New(), memory.New()
	blobs := &store.Store{ID: "a", Blobs: a.Blobs, Barrier: a.Barrier}
	dirs := &store.Store{ID: "b", Directories: b.Directories, Barrier: b.Barrier, Tags: b.Tags, Lister: b.Lister}
	for _, st := range []*store.Store{tier.New(blobs, dirs, tier.Options{}), tier.New(dirs, blobs, tier.Options{})} {
		if st.Blobs != a.Blobs || st.Directories != b.Directories || st.Lister != nil {
			t.Errorf("parts %T, %T, %T", st.Blobs, st.Directories, st.Lister)
		}
	}
	if st := tier.New(dirs, blobs, tier.Options{}); st.Tags != b.Tags {
		t.Error("tags are not those of near")
	}
	if st := tier.New(dirs, blobs, tier.Options{WriteThrough: true}); st.Tags != nil {
		t.Error("tags are not those of far")
	}
	ids := map[string]bool{}
	for _, o := range []tier.Options{{}, {WriteThrough: true}} {
		ids[tier.New(a, b, o).ID], ids[tier.New(b, a, o).ID] = true, true
	}
	if again := tier.New(a, b, tier.Options{}).ID; len(ids) != 4 || !ids[again] {
		t.Errorf("IDs %v, and again %s", ids, again)
	}
}

// walking counts the walks.
type walking struct {
	store.Directories
	walks, gets atomic.Int64
	err         error
}

func (w *walking) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	w.gets.Add(1)
	if w.err != nil {
		return nil, w.err
	}
	return w.Directories.Get(ctx, d)
}

func (w *walking) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	w.walks.Add(1)
	if w.err != nil {
		return func(yield func(store.NamedDirectory, error) bool) { yield(store.NamedDirectory{}, w.err) }
	}
	return w.Directories.Walk(ctx, root)
}
