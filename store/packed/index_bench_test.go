package packed

import (
	"bufio"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
	"castar/store/table"
)

// benchEntries is how many objects the store of the benchmarks has.
const benchEntries = 10_000_000

// uniform is a Source of n records of random digests in ascending order, without keeping them.
type uniform struct {
	n   int
	buf [2][store.DigestSize + 12]byte
}

func (u *uniform) Len() int { return u.n }

// digest returns the digest of record i: it ascends with i, evenly but for its last bytes.
func (u *uniform) digest(i int) (d store.Digest) {
	step := ^uint64(0) / uint64(u.n)
	rng := rand.NewPCG(uint64(i), 1)
	binary.BigEndian.PutUint64(d[:], uint64(i)*step+rng.Uint64()%step)
	for at := 8; at < len(d); at += 8 {
		binary.BigEndian.PutUint64(d[at:], rng.Uint64())
	}
	return d
}

func (u *uniform) Record(i int) []byte {
	d := u.digest(i)
	b := append(u.buf[i&1][:0], d[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(i/1000))
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, 1)
}

// makeLarge makes a store with one index of n blobs, in frames of a thousand, and no packs.
func makeLarge(tb testing.TB, dir string, n int) {
	tb.Helper()
	st, err := Open(context.Background(), dir, Options{Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	if err := st.Close(); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, index.Dir, "0"+index.Ext))
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	part := index.Part{
		Packs:  []pack.Length{{ID: pack.ID{1}, Bytes: 1 << 40}},
		Frames: (n + 999) / 1000,
		Frame: func(i int) (pack.Frame, bool) {
			return pack.Frame{Pack: pack.ID{1}, Offset: int64(i) << 20, Start: 40000, Stored: 1000, Raw: 1000, Codec: pack.Plain}, true
		},
		Tables: [2][]table.Source{{&uniform{n: n}}},
	}
	if err := index.Write(w, 0, []index.Part{part}); err != nil {
		tb.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// openBench opens a store in a folder of the operating system.
func openBench(tb testing.TB, dir string) *live.Store {
	tb.Helper()
	fsys, err := durable.Dir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	st, err := openFS(context.Background(), fsys, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	st.CloseFS = fsys.Close
	return st
}

// BenchmarkIndex opens a store of ten million objects, and looks for some that are there and for some that are not.
func BenchmarkIndex(b *testing.B) {
	if testing.Short() {
		b.Skip("it writes 450 MB")
	}
	dir := filepath.Join(b.TempDir(), "store")
	makeLarge(b, dir, benchEntries)
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := openBench(b, dir).Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/op")
	})
	st := openBench(b, dir)
	defer st.Close()
	x := (*st.Indexes.Load())[0]
	find := func(b *testing.B, there bool) {
		rng := rand.New(rand.NewPCG(1, 1))
		u := &uniform{n: benchEntries}
		digests := make([]store.Digest, 1<<16)
		for i := range digests {
			digests[i] = u.digest(rng.IntN(u.n))
			if !there {
				digests[i][store.DigestSize-1] ^= 1
			}
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok := x.Find(pack.KindData, &digests[i%len(digests)]); ok != there {
				b.Fatalf("found %v, want %v", ok, there)
			}
		}
	}
	b.Run("FindHit", func(b *testing.B) { find(b, true) })
	b.Run("FindMiss", func(b *testing.B) { find(b, false) })
}

// Neither a lookup in an index nor Has allocates, whether the object is in an index, in the session, or nowhere.
func TestLookupAllocatesNothing(t *testing.T) {
	fsys := made(t)
	st, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	synced, err := st.Blobs().Put(t.Context(), []byte("in an index"))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	pending, err := st.Blobs().Put(t.Context(), []byte("in the session"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var has store.Blobs = st.Blobs()
	x := (*st.Indexes.Load())[0]
	for d, want := range map[store.Digest]bool{synced: true, pending: true, store.Sum([]byte("nowhere")): false} {
		if n := testing.AllocsPerRun(100, func() {
			if got, err := has.Has(ctx, d); got != want || err != nil {
				t.Errorf("Has(%s) = %v, %v", d, got, err)
			}
		}); n > 0 {
			t.Errorf("Has allocates %v times", n)
		}
		if n := testing.AllocsPerRun(100, func() { x.Find(pack.KindData, &d) }); n > 0 {
			t.Errorf("find allocates %v times", n)
		}
	}
}

// Opening a store takes the same memory whatever its size.
func TestOpenCostsTheSame(t *testing.T) {
	bytesOf := func(n int) uint64 {
		dir := filepath.Join(t.TempDir(), "store")
		makeLarge(t, dir, n)
		const times = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if err := openBench(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / times
	}
	small, large := bytesOf(1), bytesOf(200_000)
	if large > small+10<<10 {
		t.Errorf("%d bytes for one object, %d for 200000", small, large)
	}
}
