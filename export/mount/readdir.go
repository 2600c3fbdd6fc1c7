//go:build linux

package mount

import (
	"sync/atomic"
	"syscall"

	"castar/store"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Offsets in a directory count its entries: 1 is after ".", 2 after "..", and so on. So a directory can be read on from
// anywhere, by anyone.

// OpenDir implements fuse.RawFileSystem. A mount of one root answers ENOSYS, as Open does. In a whole store, a folder of
// roots may change while it is read, so that the handle keeps what it was.
func (s *server) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if s.whole == nil {
		return fuse.ENOSYS
	}
	c, ok := s.enter(cancel)
	if !ok {
		return fuse.EIO
	}
	defer s.end(c)
	t := s.fs.tops.at(in.NodeId)
	if t == nil || t.number != in.NodeId || !t.folder {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
		return fuse.OK
	}
	all, err := s.whole.catalog(c)
	if err != nil {
		return s.fs.status(in.NodeId, err)
	}
	out.Fh = s.handles.Add(1)
	s.opened.Store(out.Fh, all[t.path])
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *server) ReleaseDir(in *fuse.ReleaseIn) { s.opened.Delete(in.Fh) }

// ReadDir implements fuse.RawFileSystem.
func (s *server) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.readDir(cancel, in, func(_ *call, _ *place, e fuse.DirEntry) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus implements fuse.RawFileSystem. It describes directories, which saves the kernel a Lookup of each. It
// describes other entries too if someone wants them: the kernel makes an inode of each, and a search by name needs none.
func (s *server) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	all := s.eager.wants(in.Offset)
	return s.readDir(cancel, in, func(c *call, p *place, e fuse.DirEntry) bool {
		described := out.AddDirLookupEntry(e)
		if described != nil && p != nil && (all || e.Mode&syscall.S_IFMT == fuse.S_IFDIR) {
			if s.entry(c, p, described) != fuse.OK {
				*described = fuse.EntryOut{} // the kernel asks again when it must know
			}
		}
		return described != nil
	})
}

// eager guesses whether the entries of the next directory will be looked up: yes, if those of one of the last directories
// were. The guess need not be exact, and its methods may be called concurrently.
type eager struct {
	left atomic.Int32 // how many more directories are described whole
}

// lookedUp says that an entry that is no directory was looked up.
func (e *eager) lookedUp() {
	const directories = 128 // after that, it asks again, at the price of looking up the files of one directory
	e.left.Store(directories)
}

// wants reports whether to describe all entries of a directory that is read from an offset on. What is read of a long
// directory after its beginning is described in any case, so that a wrong guess costs few lookups.
func (e *eager) wants(offset uint64) bool {
	return offset > 0 || e.left.Load() > 0 && e.left.Add(-1) >= 0
}

// readDir calls add for each entry from in.Offset on, until it returns false. The place is nil for an entry that is not
// described: the names of the directory itself and of the one above, and roots, which may go away.
func (s *server) readDir(cancel <-chan struct{}, in *fuse.ReadIn, addIn func(*call, *place, fuse.DirEntry) bool) fuse.Status {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return status
	}
	defer s.end(c)
	add := func(p *place, e fuse.DirEntry) bool { return addIn(c, p, e) }
	switch {
	case p.folder():
		s.readFolder(p.top, in, add)
		return fuse.OK
	case p.node.Kind != store.KindDirectory:
		return fuse.ENOTDIR
	}
	l, err := s.fs.list(c, p.node)
	if err != nil {
		return s.fs.status(in.NodeId, err)
	}
	if in.Offset == 0 {
		s.fs.listAhead(&p, l)
	}
	if !addDots(p.number, p.up, in.Offset, add) {
		return fuse.OK
	}
	for i := max(in.Offset, 2) - 2; i < uint64(len(l.entries)); i++ {
		child := p.entry(l, int(i))
		e := fuse.DirEntry{Name: child.node.Name, Mode: mode(&child), Ino: child.number, Off: i + 3}
		if !add(&child, e) {
			break
		}
	}
	return fuse.OK
}

// addDots adds "." and "..", unless the offset is after them.
func addDots(number, up, offset uint64, add func(*place, fuse.DirEntry) bool) bool {
	if offset < 1 && !add(nil, fuse.DirEntry{Name: ".", Mode: fuse.S_IFDIR, Ino: number, Off: 1}) {
		return false
	}
	return offset >= 2 || add(nil, fuse.DirEntry{Name: "..", Mode: fuse.S_IFDIR, Ino: up, Off: 2})
}

// readFolder is readDir for a folder of roots.
func (s *server) readFolder(t *top, in *fuse.ReadIn, add func(*place, fuse.DirEntry) bool) {
	opened, _ := s.opened.Load(in.Fh)
	entries, _ := opened.([]catalogEntry)
	if !addDots(t.number, 0, in.Offset, add) {
		return
	}
	for i := max(in.Offset, 2) - 2; i < uint64(len(entries)); i++ {
		it := &entries[i]
		like := &top{path: join(t.path, it.name), folder: it.folder, node: it.node, listing: it.listing}
		like.number = like.likelyNumber()
		e := fuse.DirEntry{Name: it.name, Mode: mode(&place{number: like.number, top: like, node: it.node}), Ino: like.number, Off: i + 3}
		if !add(nil, e) {
			return
		}
	}
}
