package tier_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tier"
)

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
