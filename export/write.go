package export

import (
	"cmp"

	"castar/store"
	"castar/store/listing"

	"golang.org/x/sys/unix"
)

// write writes the node n, an entry of the directory up, to d under a free name. If it fails it may leave a part. If old
// is not nil, it describes the entry of the same kind that n is to replace. facts is what factsOf says.
func (e *exporter) write(d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t, facts *listing.Entry) error {
	if n.Kind == store.KindDirectory {
		return e.writeDir(d, name, up, n, old)
	}
	if g := e.links.of(n, facts); g != nil {
		return e.writeLinked(g, d, name, up, n, old, facts)
	}
	return e.writeNew(d, name, up, n, old, facts)
}

// writeNew is write for a symlink, and for a file that is no link to another.
func (e *exporter) writeNew(d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t, facts *listing.Entry) error {
	switch n.Kind {
	case store.KindFile:
		if err := e.writeFile(d, name, up, n, old, facts); err != nil {
			return err
		}
	case store.KindSymlink:
		if err := d.symlink(n.Target, name); err != nil {
			return err
		}
		if facts != nil {
			e.applySymlinkFacts(d, name, up, n, facts, false)
		}
		if err := e.setTime(d, -1, name, up, n, facts); err != nil {
			return err
		}
	}
	e.done.met(n.Kind, true)
	e.notify(OpWrite, up, n.Name)
	return nil
}

// writeDir is write for a directory. In place of an old one, it gets the mode of that at the end. Until then only its owner
// can read it, because its contents may be private.
func (e *exporter) writeDir(d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t) error {
	at, nodes, err := e.enter(up, n)
	if err != nil {
		return err
	}
	e.list(at, nodes)
	mode, listed := e.o.DirMode, at.facts != nil && e.keepsDirMode
	if listed || old != nil {
		mode = 0o700 // the listing and the old directory may allow less than DirMode
	}
	child, err := d.mkdir(name, mode)
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
		err := e.finish(child, at)
		if err == nil && old != nil && !listed {
			err = child.chmod(permissions(old))
		}
		return err
	})
}

// fill writes the entries of the directory at to d, which is empty.
func (e *exporter) fill(d *dir, at *trail, nodes store.Directory) error {
	if at.up == nil && e.o.Listing != nil {
		d.plain = e.isPlain(d)
		e.links.begin(d)
	}
	write := func(n *store.Node) error {
		err := e.write(d, n.Name, at, n, nil, e.factsOf(at, n))
		if err == unix.EEXIST {
			err = errSpelling
		}
		return err
	}
	err := e.each(at, d, nodes, write)
	if at.up == nil {
		err = cmp.Or(err, e.links.end())
	}
	return err
}

// isPlain reports whether new entries below d, a new directory of mode 0700, get the mode that they are made with, less
// the umask. An ACL for new entries can change that, and so can a file system that has no modes.
func (e *exporter) isPlain(d *dir) bool {
	st, err := d.stat()
	return err == nil && permissions(&st)&0o777 == 0o700&^e.umask && !hasAttributes(d.fd)
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

func (e *exporter) writeFile(d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t, facts *listing.Entry) (err error) {
	var blob store.Blob
	if n.Size > 0 || n.Digest != e.empty { // the empty blob need not come from the store
		if blob, err = e.open(n); err != nil {
			return err
		}
		defer blob.Close()
	}
	mode := e.newMode(n, old, facts)
	fd, err := d.create(name, mode)
	if err != nil {
		return err
	}
	if blob != nil {
		err = e.writeBlob(fd, blob, n, e.o.Sparse || facts != nil && facts.Sparse)
	}
	if err == nil && old != nil {
		err = e.inherit(fd, n, old, facts)
	}
	if err == nil && facts != nil && !(d.plain && old == nil && e.isComplete(n, facts, uint32(mode))) {
		e.applyFacts(fd, up, n, facts, false)
	}
	if err == nil && facts != nil {
		err = e.setTime(d, fd, name, up, n, facts)
	}
	if err = cmp.Or(err, closeFile(fd)); err == nil && facts == nil {
		err = d.setTimes(name, e.times)
	}
	return err
}

// isComplete reports whether a new file that was made with a mode has all that facts says of n but the time.
func (e *exporter) isComplete(n *store.Node, facts *listing.Entry, made uint32) bool {
	made &^= e.umask
	return !e.o.Owner && !e.o.Xattrs && made == e.modeOf(n, facts, made, false)
}

// writeBlob writes the contents of n to the file fd, which is empty. If sparse is set, it leaves holes.
func (e *exporter) writeBlob(fd int, blob store.Blob, n *store.Node, sparse bool) error {
	w := fileWriter{sizedWriter: sizedWriter{ctx: e.ctx, node: n}, fd: fd, done: e.done, sparse: sparse, links: &e.reflinks}
	if err := w.fill(&w, blob); err != nil {
		return err
	}
	return w.end()
}

// count stands in for write in a dry run.
func (e *exporter) count(up *trail, n *store.Node) error {
	return e.visit(up, n, func(up *trail, n *store.Node, err error) error {
		if err != nil {
			return err
		}
		op := OpWrite
		if n.Kind == store.KindDirectory {
			op = OpMkdir
		}
		e.found(up, n, op)
		return nil
	})
}
