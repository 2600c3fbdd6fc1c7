package ingest

import (
	"sync"

	"castar/store"
)

// maxLinks is how many files with names still to come are remembered at once, in 30 MB. Others are read by each name.
const maxLinks = 128 << 10

// links remembers what was read of files with several names, so that one walk reads each of them once.
type links struct {
	mu    sync.Mutex
	files map[inode]*linked
}

// inode identifies a file on a native file system during a walk.
type inode struct{ dev, ino uint64 }

// linked is a file with several names.
type linked struct {
	left  uint64        // names that the walk has not met yet
	read  chan struct{} // closed when the fields below are final
	ok    bool
	stat  stat // as it was while the file was read
	found store.Digest
}

// meet returns the file of st, and whether the caller is the first to meet it and must read it. It returns nil if there
// is no room to remember the file.
func (l *links) meet(st *stat) (file *linked, first bool) {
	key := inode{st.dev, st.ino}
	l.mu.Lock()
	defer l.mu.Unlock()
	if file = l.files[key]; file != nil {
		if file.left--; file.left == 0 {
			delete(l.files, key)
		}
		return file, false
	}
	if len(l.files) >= maxLinks {
		return nil, true
	}
	if l.files == nil {
		l.files = map[inode]*linked{}
	}
	file = &linked{left: st.links - 1, read: make(chan struct{})}
	l.files[key] = file
	return file, true
}

// readOnce is readFile for a file with several names. A file read by another name is not read again if it is unchanged.
func (w *worker) readOnce(up *folder, at *place, st *stat) (d store.Digest, err error) {
	file, first := w.links.meet(st)
	switch {
	case file == nil:
		return w.readFile(up, at, st)
	case first:
		defer close(file.read)
		d, err = w.readFile(up, at, st)
		file.ok, file.stat, file.found = err == nil, *st, d
		return d, err
	}
	<-file.read // no deadlock: its reader waits for no other file
	if !file.ok || file.stat != *st {
		return w.readFile(up, at, st)
	}
	w.o.Progress.Bytes.Add(st.size)
	w.o.Cache.add(w.keyOf(up, at), up.volume, st, file.found, w.began)
	return file.found, nil
}
