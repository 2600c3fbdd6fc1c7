package ingest

import (
	"sync"

	"castar/store"
)

// maxLinks is how many files with other names to come are remembered at once, in 30 MB. Any others are read by each name.
const maxLinks = 128 << 10

// links remembers what was read of files with several names, so that one walk reads each of them once.
type links struct {
	mu    sync.Mutex
	files map[inode]*linked
}

// inode is a file, for as long as a walk lasts and on a native file system.
type inode struct{ dev, ino uint64 }

// linked is a file with several names.
type linked struct {
	left  uint64        // names that nobody came by yet
	read  chan struct{} // closed when what follows is final
	ok    bool
	stat  stat // while it was read
	found store.Digest
}

// meet returns the file of st, and whether it is to be read by the caller, as the first that came by. It returns nil
// where it cannot be remembered.
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

// readOnce is readFile for a file with several names: what was read by another one is not read again, if the file is
// still the same.
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
	<-file.read // whoever reads it waits for no other file
	if !file.ok || file.stat != *st {
		return w.readFile(up, at, st)
	}
	w.o.Progress.Bytes.Add(st.size)
	w.o.Cache.add(w.keyOf(up, at), up.volume, st, file.found, w.began)
	return file.found, nil
}
