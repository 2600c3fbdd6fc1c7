package export

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// fakePack is a file whose blocks can be shared, as far as an export notices.
type fakePack struct {
	data   []byte
	err    error // of every clone
	calls  int
	cloned int64
}

func (p *fakePack) CloneTo(fd int, at, from, n int64) error {
	p.calls++
	switch {
	case p.err != nil:
		return p.err
	case at%blockSize != 0 || from%blockSize != 0 || n%blockSize != 0 || n == 0 || from+n > int64(len(p.data)):
		return unix.EINVAL
	}
	p.cloned += n
	_, err := unix.Pwrite(fd, p.data[from:from+n], at)
	return err
}

// append puts a piece into the pack and returns where it is: as far from a block as phase says, or right after the last
// piece if phase is negative.
func (p *fakePack) append(piece []byte, phase int64) *store.Extent {
	for phase >= 0 && int64(len(p.data))%blockSize != phase {
		p.data = append(p.data, '-')
	}
	p.data = append(p.data, piece...)
	return &store.Extent{File: p, Offset: int64(len(p.data) - len(piece))}
}

// store returns the store of f, whose clones fail as err says.
func (p *fakePack) store(f *fake) *store.Store {
	st := f.store()
	st.Clones = func(int) error { return p.err }
	return st
}

// TestReflinkAny clones pieces of any length, from any places, and compares the result.
func TestReflinkAny(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		var contents strings.Builder
		for range rapid.IntRange(1, 6).Draw(r, "runs") {
			n := rapid.OneOf(rapid.SampledFrom([]int{1, blockSize, 5*blockSize + 1}), rapid.IntRange(1, 40000)).Draw(r, "length")
			contents.WriteString(strings.Repeat(rapid.SampledFrom([]string{"\x00", "x", "abc"}).Draw(r, "bytes"), n)[:n])
		}
		p, f := &fakePack{}, newFake()
		f.maxPiece = rapid.SampledFrom([]int{1 << 20, 100, 4096, 4097, 20000}).Draw(r, "piece")
		p.err = rapid.SampledFrom([]error{nil, nil, unix.EINVAL, unix.EXDEV}).Draw(r, "error")
		f.extent = func(at int64, piece []byte) *store.Extent {
			phase := rapid.SampledFrom([]int64{-1, -1, at % blockSize, at % blockSize, 17, -2}).Draw(r, "phase")
			if phase == -2 {
				return nil
			}
			return p.append(piece, phase)
		}
		o := Options{Sparse: rapid.Bool().Draw(r, "sparse"), Reflink: rapid.SampledFrom([]Reflink{ReflinkAuto, ReflinkNever}).Draw(r, "mode")}
		dest, err := os.MkdirTemp(dir, "")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dest)
		done, err := Dir(t.Context(), p.store(f), f.put(t, "", contents.String()), filepath.Join(dest, "f"), o)
		if err != nil || done.Shared != uint64(p.cloned) || o.Reflink == ReflinkNever && p.calls > 0 {
			r.Fatalf("%v; told of %d bytes that are shared, and %d are", err, done.Shared, p.cloned)
		}
		if got, err := os.ReadFile(filepath.Join(dest, "f")); err != nil || string(got) != contents.String() {
			r.Fatalf("%v, or the contents differ", err)
		}
	})
}

// TestReflinkFails tries to clone where that cannot be done.
func TestReflinkFails(t *testing.T) {
	files := tree{}
	for i := range 3 * enough {
		files[fmt.Sprint(i)] = strings.Repeat(fmt.Sprint(i), 2*blockSize)
	}
	for _, c := range []struct {
		err   error
		mode  Reflink
		fails bool
		calls int
	}{
		{unix.EOPNOTSUPP, ReflinkAuto, false, enough},
		{unix.EINVAL, ReflinkAuto, false, enough},
		{unix.EOPNOTSUPP, ReflinkAlways, true, 0},
		{unix.EOPNOTSUPP, ReflinkNever, false, 0},
	} {
		p, f, dest := &fakePack{err: c.err}, newFake(), t.TempDir()
		f.extent = func(at int64, piece []byte) *store.Extent { return p.append(piece, at%blockSize) }
		_, err := Dir(t.Context(), p.store(f), f.put(t, "", files), filepath.Join(dest, "out"), Options{Reflink: c.mode, Jobs: 1})
		if errors.Is(err, c.err) != c.fails || !c.fails && err != nil || p.calls != c.calls {
			t.Errorf("%v, mode %v: error %v after %d calls, want %d", c.err, c.mode, err, p.calls, c.calls)
		}
		if names, err := os.ReadDir(dest); err != nil || (len(names) == 0) != c.fails {
			t.Errorf("%v, mode %v: left %v, %v", c.err, c.mode, names, err)
		}
	}

	// Contents that are not in a file, and bytes that cannot be shared where others can.
	f := newFake()
	root := f.put(t, "", files)
	if _, err := Dir(t.Context(), f.store(), root, filepath.Join(t.TempDir(), "out"), Options{Reflink: ReflinkAlways}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a store without files: error %v", err)
	}
	p := &fakePack{err: unix.EINVAL}
	f.extent = func(at int64, piece []byte) *store.Extent { return p.append(piece, at%blockSize) }
	st := p.store(f)
	st.Clones = func(int) error { return nil }
	if _, err := Dir(t.Context(), st, root, filepath.Join(t.TempDir(), "out"), Options{Reflink: ReflinkAlways}); err != nil {
		t.Error(err)
	}
	p.err = unix.EXDEV // below another mount point
	dest := t.TempDir()
	_, err := Dir(t.Context(), st, root, filepath.Join(dest, "out"), Options{Reflink: ReflinkAlways})
	if named := (*Error)(nil); !errors.As(err, &named) || !errors.Is(err, unix.EXDEV) {
		t.Errorf("error %v", err)
	}
	if names, err := os.ReadDir(dest); err != nil || len(names) > 0 {
		t.Errorf("left %v, %v", names, err)
	}
}
