package export

import (
	"cmp"
	"context"
	"fmt"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// write writes the node n, an entry of the directory up, to d under a free name. If it fails it may leave a part. If old
// is not nil, it describes the file that the new file is to replace.
func (e *exporter) write(d *dir, name string, up *path, n *store.Node, old *unix.Stat_t) error {
	switch n.Kind {
	case store.KindDirectory:
		return e.writeDir(d, name, up, n)
	case store.KindFile:
		if err := e.writeFile(d, name, n, old); err != nil {
			return err
		}
	case store.KindSymlink:
		if err := d.symlink(n.Target, name); err != nil {
			return err
		}
	}
	if err := d.setTimes(name, e.times); err != nil {
		return err
	}
	e.done.met(n.Kind, true)
	e.notify(OpWrite, up, n.Name)
	return nil
}

func (e *exporter) writeDir(d *dir, name string, up *path, n *store.Node) error {
	at, nodes, err := e.enter(up, n)
	if err != nil {
		return err
	}
	child, err := d.mkdir(name, e.o.DirMode)
	if err != nil {
		return err
	}
	e.done.met(n.Kind, true)
	e.notify(OpMkdir, up, n.Name)
	return d.within(child, func() error {
		if err := e.fill(child, at, nodes); err != nil {
			return err
		}
		if err := e.withholdOwner(child); err != nil {
			return err
		}
		return child.setTimes(".", e.times)
	})
}

// fill writes the entries of the directory at to d, which is empty.
func (e *exporter) fill(d *dir, at *path, nodes store.Directory) error {
	write := func(n *store.Node) error {
		err := e.write(d, n.Name, at, n, nil)
		if err == unix.EEXIST {
			err = errSpelling
		}
		return err
	}
	return e.each(at, d, nodes, write, write)
}

// withholdOwner removes from a complete directory the permissions of its owner that DirMode does not have. It had them
// only while it was written. The umask was applied when the directory was made.
func (e *exporter) withholdOwner(d *dir) error {
	lent := 0o700 &^ uint32(e.o.DirMode)
	if lent == 0 {
		return nil
	}
	st, err := d.stat()
	if err != nil {
		return err
	}
	return d.chmod(permissions(&st) &^ lent)
}

func (e *exporter) writeFile(d *dir, name string, n *store.Node, old *unix.Stat_t) (err error) {
	var blob store.Blob
	if n.Size > 0 || n.Digest != e.empty { // the empty blob need not come from the store
		if blob, err = e.open(n); err != nil {
			return err
		}
		defer blob.Close()
	}
	fd, err := d.create(name, e.newMode(n, old))
	if err != nil {
		return err
	}
	if blob != nil {
		err = e.writeBlob(fd, blob, n)
	}
	if err == nil && old != nil {
		err = e.inherit(fd, n, old)
	}
	return cmp.Or(err, closeFile(fd))
}

// writeBlob writes the contents of n to the file fd, which is empty.
func (e *exporter) writeBlob(fd int, blob store.Blob, n *store.Node) error {
	w := fileWriter{ctx: e.ctx, fd: fd, node: n, done: e.done, sparse: e.o.Sparse}
	_, err := blob.WriteTo(&w) // checks the digest
	switch {
	case w.err != nil:
		return w.err // without the context that the store added
	case err != nil:
		return objectError("blob", n.Digest, err)
	case w.written != n.Size:
		return sizeMismatch(n, w.written)
	}
	return w.end()
}

// fileWriter writes a blob to a file. It fails if the blob is longer than its node says.
type fileWriter struct {
	ctx     context.Context
	fd      int
	node    *store.Node
	done    *Progress
	written uint64
	sparse  bool  // leave holes
	hole    bool  // the file ends with a hole
	err     error // the first error
}

func (w *fileWriter) Write(p []byte) (n int, err error) {
	defer func() {
		w.written += uint64(n)
		w.done.Bytes.Add(uint64(n))
		w.err = err
	}()
	if w.err != nil {
		return 0, w.err
	}
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	if uint64(len(p)) > w.node.Size-w.written {
		return 0, fmt.Errorf("size mismatch: blob %s is recorded with %d bytes and has more", w.node.Digest, w.node.Size)
	}
	if w.sparse {
		return w.writeSparse(p)
	}
	for n < len(p) {
		k, err := posix.RetryValue(func() (int, error) { return unix.Write(w.fd, p[n:]) })
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// count stands in for write in a dry run.
func (e *exporter) count(up *path, n *store.Node) error {
	if n.Kind == store.KindDirectory {
		at, nodes, err := e.enter(up, n)
		if err != nil {
			return err
		}
		e.done.met(n.Kind, true)
		e.notify(OpMkdir, up, n.Name)
		next := func(n *store.Node) error { return e.count(at, n) }
		return e.each(at, nil, nodes, next, next)
	}
	if err := e.has(n); err != nil {
		return err
	}
	if n.Kind == store.KindFile {
		e.done.Bytes.Add(n.Size)
	}
	e.done.met(n.Kind, true)
	e.notify(OpWrite, up, n.Name)
	return nil
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
		return objectError("blob", n.Digest, err)
	}
	return nil
}
