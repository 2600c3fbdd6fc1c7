package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"castar/store"
	"castar/store/listing"
)

// path is the position of a directory in the tree, as a chain that ends at the root. The root is an entry of nil.
type path struct {
	up     *path
	name   string
	digest store.Digest
	depth  int // 1 for the root

	folder *listing.Folder // what the listing has of the directory, or nil
	lines  *listing.Lines  // and of its entries, after list
	facts  *listing.Entry  // and of itself, after list
}

// join returns the path of the entry name of the directory.
func (p *path) join(name string) string {
	if p == nil || p.up == nil {
		return name
	}
	parts := []string{name}
	for ; p.up != nil; p = p.up {
		parts = append(parts, p.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// wrap adds the path of the entry name to err, unless err has a path or the entry is the root.
func (p *path) wrap(name string, err error) error {
	if _, named := errors.AsType[*Error](err); named || err == nil || p == nil {
		return err
	}
	return &Error{Path: p.join(name), Err: err}
}

// enter fetches the directory n, an entry of up. It checks what Get promises, because a name with a slash must not reach
// a system call even if a store is wrong.
func (e *exporter) enter(up *path, n *store.Node) (*path, store.Directory, error) {
	at := &path{up: up, name: n.Name, digest: n.Digest, depth: 1, folder: e.o.Listing}
	if up != nil {
		at.depth, at.folder = up.depth+1, up.folder.Folder(n.Name)
	}
	if at.depth > store.MaxDepth {
		return nil, nil, store.ErrTooDeep
	}
	for p := up; p != nil; p = p.up {
		if p.digest == n.Digest {
			return nil, nil, fmt.Errorf("directory %s contains itself", n.Digest)
		}
	}
	dir, err := e.st.Directories.Get(e.ctx, n.Digest)
	if err == nil {
		err = dir.Validate()
	}
	if err != nil {
		return nil, nil, store.About("directory", n.Digest, err)
	}
	// Both size rules give at least the documented size, and a larger size does no harm.
	if size, _ := dir.Size(store.SizeDocumented); n.Size < size {
		return nil, nil, fmt.Errorf("size mismatch: directory %s is recorded with %d and has %d", n.Digest, n.Size, size)
	}
	return at, dir, nil
}

// open opens the blob of the file n and checks its length.
func (e *exporter) open(n *store.Node) (store.Blob, error) {
	blob, err := e.st.Blobs.Open(e.ctx, n.Digest)
	if err != nil {
		return nil, store.About("blob", n.Digest, err)
	}
	if blob.Size() != n.Size {
		blob.Close()
		return nil, sizeMismatch(n, blob.Size())
	}
	return blob, nil
}

// sizedWriter takes the contents of a file. It refuses more bytes than the file should have, and keeps the first error.
type sizedWriter struct {
	ctx     context.Context
	node    *store.Node
	to      io.Writer
	written uint64
	err     error
}

func (w *sizedWriter) Write(p []byte) (int, error) { return w.add(p, w.to.Write) }

// add takes p by a call of put.
func (w *sizedWriter) add(p []byte, put func(p []byte) (int, error)) (n int, err error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil && uint64(len(p)) > w.node.Size-w.written {
		w.err = fmt.Errorf("size mismatch: blob %s is recorded with %d bytes and has more", w.node.Digest, w.node.Size)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, w.err = put(p)
	w.written += uint64(n)
	return n, w.err
}

// fill writes a blob to a writer around w, and checks its digest and length.
func (w *sizedWriter) fill(around io.Writer, blob store.Blob) error {
	_, err := blob.WriteTo(around) // checks the digest
	switch {
	case w.err != nil:
		return w.err // without the context that the store added
	case err != nil:
		return store.About("blob", w.node.Digest, err)
	case w.written != w.node.Size:
		return sizeMismatch(w.node, w.written)
	}
	return nil
}

func sizeMismatch(n *store.Node, size uint64) error {
	return fmt.Errorf("size mismatch: blob %s is recorded with %d bytes and has %d", n.Digest, n.Size, size)
}

// each calls do for all nodes, several at once, and returns when all calls have returned. Errors get the path of their
// entry in the directory at. The calls work in d, which may be nil.
func (e *exporter) each(at *path, d *dir, nodes store.Directory, do func(n *store.Node) error) (err error) {
	g := group{e: e}
	defer func() {
		if err != nil {
			e.stop(err) // shortens the wait
		}
		err = cmp.Or(err, g.wait())
	}()
	for len(nodes) > 0 && err == nil {
		run := nodes[:runLength(nodes)]
		nodes = nodes[len(run):]
		task := func() error { return e.eachOf(at, run, do) }
		isDir := run[0].Kind == store.KindDirectory
		switch {
		case isDir && (d.deep() || at.depth >= keepOpen):
			if err = g.wait(); err == nil {
				err = task() // with d for itself, as within demands
			}
		case isDir && !e.st.MayFork(&run[0]):
			err = task()
		default:
			err = g.do(task)
		}
	}
	return err
}

func (e *exporter) eachOf(at *path, run store.Directory, do func(n *store.Node) error) error {
	for i := range run {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if err := do(&run[i]); err != nil {
			return at.wrap(run[i].Name, err)
		}
		// A goroutine loses its processor after 10 ms. If it is in a system call at that moment, which is likely here,
		// another thread takes over, and the system has more threads to switch between than processors. Yielding here
		// costs next to nothing. It saves nine of ten switches and 7% of the time.
		runtime.Gosched()
	}
	return nil
}

// visit calls do for n, an entry of up, and for everything below it, several at once. It reads no blobs. err says that a
// directory cannot be read, or why the store does not have a blob. If do returns nil all the same, the visit goes on.
func (e *exporter) visit(up *path, n *store.Node, do func(up *path, n *store.Node, err error) error) error {
	if n.Kind != store.KindDirectory {
		return do(up, n, e.has(n))
	}
	at, nodes, err := e.enter(up, n)
	if err := do(up, n, err); err != nil {
		return err
	}
	return e.each(at, nil, nodes, func(n *store.Node) error { return e.visit(at, n, do) })
}

// has returns an error if n is a file and the store lacks its contents.
func (e *exporter) has(n *store.Node) error {
	if n.Kind != store.KindFile || n.Size == 0 && n.Digest == e.empty {
		return nil
	}
	has, err := e.st.Blobs.Has(e.ctx, n.Digest)
	if err == nil && !has {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.About("blob", n.Digest, err)
	}
	return nil
}

// A run is the part of a directory that one goroutine writes: at most runFiles files, about runBytes bytes, or one
// directory. Shorter runs cost more to hand over than they gain, because goroutines that create entries in one directory
// wait for each other in the kernel.
const (
	runFiles = 64
	runBytes = 1 << 20
)

// runLength returns how many of nodes make the first run. There is at least one node.
func runLength(nodes store.Directory) int {
	bytes := uint64(0)
	for i := range nodes {
		isDir := nodes[i].Kind == store.KindDirectory
		if i > 0 && (isDir || i == runFiles || bytes >= runBytes) {
			return i
		}
		if isDir {
			return 1
		}
		bytes += min(nodes[i].Size, runBytes)
	}
	return len(nodes)
}

// group is the tasks of one directory. A task runs in a new goroutine if a slot is free, and otherwise in the caller's. So
// at most Jobs goroutines work, whatever the shape of the tree, and no task is ever queued.
type group struct {
	e      *exporter
	wg     sync.WaitGroup
	forked bool
}

// do runs f, and returns its error, or starts it in a goroutine, where an error ends the export.
func (g *group) do(f func() error) error {
	select {
	case g.e.slots <- struct{}{}:
	default:
		return f()
	}
	g.forked = true
	g.wg.Go(func() {
		defer func() { <-g.e.slots }()
		if err := f(); err != nil {
			g.e.stop(err)
		}
	})
	return nil
}

// wait returns when all tasks are done, with an error if the export has ended. It frees its slot while it waits.
func (g *group) wait() error {
	if g.forked {
		<-g.e.slots
		g.wg.Wait()
		g.e.slots <- struct{}{}
		g.forked = false
	}
	return g.e.ctx.Err()
}
