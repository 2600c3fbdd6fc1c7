package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"castar/store"
)

// tree is a directory in memory. Its values are file contents (string), executable files (exec), symlinks (link) and
// directories (tree).
type (
	tree map[string]any
	exec string
	link string
)

// fake is a store in two maps that can lie: it returns whatever is under a digest.
type fake struct {
	mu       sync.Mutex
	blobs    map[store.Digest][]byte
	sizes    map[store.Digest]uint64 // what Size says, where that is not the truth
	dirs     map[store.Digest]store.Directory
	rule     store.SizeRule
	onOpen   func(store.Digest) error // called by Open, if not nil
	onGet    func(store.Digest) error
	maxPiece int                                        // of what WriteTo writes at once
	extent   func(at int64, piece []byte) *store.Extent // of a piece of a blob, if not nil
}

func newFake() *fake {
	return &fake{
		blobs: map[store.Digest][]byte{}, sizes: map[store.Digest]uint64{}, dirs: map[store.Digest]store.Directory{},
		maxPiece: 256 << 10,
	}
}

func (f *fake) store() *store.Store {
	return &store.Store{ID: "fake", Blobs: fakeBlobs{f: f}, Directories: fakeDirs{f: f}}
}

// put stores v with its right digest, and returns a node with that name.
func (f *fake) put(t testing.TB, name string, v any) store.Node {
	t.Helper()
	switch v := v.(type) {
	case string:
		return f.file(name, v)
	case exec:
		n := f.file(name, string(v))
		n.Executable = true
		return n
	case link:
		return store.Node{Name: name, Kind: store.KindSymlink, Target: string(v)}
	case tree:
		var dir store.Directory
		for _, k := range slices.Sorted(maps.Keys(v)) {
			dir = append(dir, f.put(t, k, v[k]))
		}
		return f.dir(t, name, dir)
	case store.Node:
		v.Name = name
		return v
	}
	t.Fatalf("%T in a tree", v)
	return store.Node{}
}

func (f *fake) file(name, data string) store.Node {
	d := store.Sum([]byte(data))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d] = []byte(data)
	return store.Node{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(data))}
}

func (f *fake) dir(t testing.TB, name string, dir store.Directory) store.Node {
	t.Helper()
	b, err := store.EncodeDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	size, err := dir.Size(f.rule)
	if err != nil {
		t.Fatal(err)
	}
	d := store.Sum(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirs[d] = dir
	return store.Node{Name: name, Kind: store.KindDirectory, Digest: d, Size: size}
}

// forge stores a directory, which may be invalid, under a digest that is not its own. Its size is larger than needed.
func (f *fake) forge(name string, dir store.Directory) store.Node {
	d := store.Sum(fmt.Appendf(nil, "forged %s %d", name, len(f.dirs)))
	f.dirs[d] = dir
	size, _ := dir.Size(store.SizeDocumented)
	return store.Node{Name: name, Kind: store.KindDirectory, Digest: d, Size: size + 10}
}

type fakeBlobs struct {
	store.Blobs
	f *fake
}

func (b fakeBlobs) Has(_ context.Context, d store.Digest) (bool, error) {
	_, ok := b.f.blobs[d]
	return ok, nil
}

func (b fakeBlobs) Open(_ context.Context, d store.Digest) (store.Blob, error) {
	if b.f.onOpen != nil {
		if err := b.f.onOpen(d); err != nil {
			return nil, err
		}
	}
	data, ok := b.f.blobs[d]
	if !ok {
		return nil, store.ErrNotFound
	}
	size, ok := b.f.sizes[d]
	if !ok {
		size = uint64(len(data))
	}
	return &fakeBlob{Reader: bytes.NewReader(data), f: b.f, digest: d, data: data, size: size}, nil
}

type fakeBlob struct {
	*bytes.Reader
	f      *fake
	digest store.Digest
	data   []byte
	size   uint64
}

func (b *fakeBlob) Size() uint64 { return b.size }
func (b *fakeBlob) Close() error { return nil }

// WriteTo keeps the contract of store.Blob: it writes from the start and then says whether the bytes were right.
func (b *fakeBlob) WriteTo(w io.Writer) (n int64, err error) {
	for piece := range slices.Chunk(b.data, b.f.maxPiece) {
		var x *store.Extent
		if b.f.extent != nil {
			x = b.f.extent(n, piece)
		}
		k, err := store.WriteFrom(w, piece, x)
		n += int64(k)
		if err != nil {
			return n, fmt.Errorf("writing it: %w", err)
		}
	}
	if store.Sum(b.data) != b.digest {
		return n, &store.CorruptError{Digest: b.digest, Err: store.ErrDigestMismatch}
	}
	return n, nil
}

type fakeDirs struct {
	store.Directories
	f *fake
}

func (d fakeDirs) Get(_ context.Context, digest store.Digest) (store.Directory, error) {
	if d.f.onGet != nil {
		if err := d.f.onGet(digest); err != nil {
			return nil, err
		}
	}
	dir, ok := d.f.dirs[digest]
	if !ok {
		return nil, store.ErrNotFound
	}
	return dir, nil
}

func (d fakeDirs) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, d, root)
}

// plant writes v at path with package os.
func plant(t testing.TB, path string, v any) {
	t.Helper()
	var err error
	switch v := v.(type) {
	case string:
		err = os.WriteFile(path, []byte(v), 0o644)
	case exec:
		err = os.WriteFile(path, []byte(v), 0o755)
	case link:
		err = os.Symlink(string(v), path)
	case tree:
		if err = os.Mkdir(path, 0o755); errors.Is(err, fs.ErrExist) {
			err = nil
		}
		for k, kid := range v {
			plant(t, filepath.Join(path, k), kid)
		}
	default:
		t.Fatalf("%T in a tree", v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the entry at path, as plant takes it, or nil if there is none.
func read(t testing.TB, path string) any {
	t.Helper()
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	switch fi.Mode().Type() {
	case fs.ModeDir:
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		v := tree{}
		for _, e := range entries {
			v[e.Name()] = read(t, filepath.Join(path, e.Name()))
		}
		return v
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		return link(target)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode()&0o100 != 0 {
		return exec(data)
	}
	return string(data)
}
