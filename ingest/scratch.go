package ingest

import "castar/store"

// scratch is memory for one directory of a walk. It is used again for the next one. Otherwise it would be most of what a walk
// allocates, and each new page of memory costs as much as looking at a file.
type scratch struct {
	names  []string
	nodes  store.Directory
	places []place
}

// mostScratch is how many entries a scratch that is used again may have room for. It has about 130 bytes for each.
const mostScratch = 1024

// scratchFor returns memory for a directory. It goes back with release, when nothing refers to it.
func (w *walker) scratchFor() *scratch {
	if s, ok := w.scratches.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// entries makes s as long as a directory of n entries, all of them zero.
func (s *scratch) entries(n int) {
	if cap(s.nodes) < n {
		s.nodes, s.places = make(store.Directory, n), make([]place, n)
	}
	s.nodes, s.places = s.nodes[:n], s.places[:n]
}

func (w *walker) release(s *scratch) {
	if max(cap(s.nodes), cap(s.names)) > mostScratch {
		return
	}
	clear(s.names) // what they refer to must not be kept
	clear(s.nodes)
	clear(s.places)
	s.names = s.names[:0]
	w.scratches.Put(s)
}
