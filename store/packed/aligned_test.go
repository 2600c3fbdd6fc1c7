package packed

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// sharingFS is a file system that lets files share blocks, as far as a store finds out.
type sharingFS struct{ *crashfs.FS }

func (s sharingFS) Create(name string) (durable.File, error) { return sharing(s.FS.Create(name)) }
func (s sharingFS) Open(name string) (durable.File, error)   { return sharing(s.FS.Open(name)) }

type sharingFile struct{ durable.File }

func sharing(f durable.File, err error) (durable.File, error) {
	if err != nil {
		return nil, err
	}
	return sharingFile{f}, nil
}

func (sharingFile) Shares() bool                           { return true }
func (sharingFile) CloneTo(int, int64, int64, int64) error { return errors.New("not here") }

// extents is an ExtentWriter that counts how much of what it gets can be cloned.
type extents struct {
	t         *testing.T
	got       []byte
	cloneable int
}

func (x *extents) Write(p []byte) (int, error) {
	x.got = append(x.got, p...)
	return len(p), nil
}

func (x *extents) WriteExtent(p []byte, e store.Extent) (int, error) {
	lies := make([]byte, len(p))
	if _, err := e.File.(durable.File).ReadAt(lies, e.Offset); err != nil || !bytes.Equal(lies, p) {
		x.t.Errorf("the extent at %d has other bytes, %v", e.Offset, err)
	}
	if (e.Offset-int64(len(x.got)))%4096 == 0 {
		x.cloneable += len(p)
	}
	return x.Write(p)
}

// cloneable returns how many bytes of a blob can be cloned.
func cloneable(t *testing.T, st *live.Store, data []byte) int {
	t.Helper()
	b, err := st.Blobs().Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	x := &extents{t: t}
	if n, err := b.WriteTo(x); err != nil || n != int64(len(data)) || !bytes.Equal(x.got, data) {
		t.Fatalf("read %d bytes of %d, %v", n, len(data), err)
	}
	if m, err := b.Read(make([]byte, 1)); m != 0 || err == nil {
		t.Error("after WriteTo, there is more to read")
	}
	return x.cloneable
}

// TestAligned stores contents that do not compress where files can share blocks. They lie such that files can, also after a
// gc that moves what is left of a frame; and next to nothing is padding.
func TestAligned(t *testing.T) {
	ctx, fsys := context.Background(), sharingFS{made(t)}
	text := bytes.Repeat([]byte("compressed "), 40<<10)
	long, one, put := random(1, 9<<20), random(2, 130<<10), random(3, 700<<10)
	other := append(bytes.Clone(long[:3<<20]), random(4, 300<<10)...) // most chunks are those of long
	mixed := append(append(bytes.Clone(text), random(5, 1<<20)...), text...)
	st, err := openFS(ctx, fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{long, other, mixed} {
		w, err := st.Blobs().Create(ctx)
		if err == nil {
			_, err = w.Write(data)
		}
		if err == nil {
			_, err = w.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	for _, data := range [][]byte{one, put, text} {
		if _, err := st.Blobs().Put(ctx, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
	check := func(when string, want map[int][]byte) {
		t.Helper()
		st, err := openFS(ctx, fsys, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, st)
		for least, data := range want {
			if n := cloneable(t, st, data); n < least {
				t.Errorf("%s: %d bytes of %d can be cloned, want %d", when, n, len(data), least)
			}
		}
		padding, total := 0, 0
		for _, f := range frames(t, fsys.Files()) {
			padding += int(f.Start) - pack.FrameHeadLen - len(f.Items)*pack.ItemLen
			total += int(f.Stored)
		}
		if padding == 0 || padding > total/100 {
			t.Errorf("%s: %d bytes of padding in %d", when, padding, total)
		}
	}
	// Of other and mixed, the chunks at the edges are not of one kind.
	check("as stored", map[int][]byte{len(long) - 64<<10: long, len(one): one, len(put): put, 3 << 20: other, 512 << 10: mixed, 0: text})

	if st, err = openFS(ctx, fsys, Options{Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	keep := st.NewSet()
	for _, data := range [][]byte{other, one} {
		chunks, err := st.Blobs().Chunks(ctx, store.Sum(data))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(chunks, store.Chunk{Digest: store.Sum(data)}) {
			if _, err := keep.Add(store.KindFile, c.Digest); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r, err := care.New(st).Sweep(ctx, keep, store.SweepOptions{}); err != nil || r.Rewritten == 0 {
		t.Fatalf("gc moved %d bytes, %v", r.Rewritten, err)
	}
	closeStore(t, st)
	check("after a gc", map[int][]byte{len(one): one, 3 << 20: other})
}
