package packed

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"castar/store"
	"castar/store/table"
)

const (
	// groupSize is how many bytes of blobs and chunks are compressed together. A kernel tree takes 236 MB with frames of
	// 1 MiB in which each chunk has its own, 232 MB where chunks share them, 228.7 MB with 2 MiB and 226.7 MB with 4 MiB;
	// but reading one small blob costs decoding its group, a millisecond for 2 MiB.
	groupSize = 2 << 20
	// dirGroupSize is the same for directories and chunk lists, which are more often read one at a time.
	dirGroupSize = 256 << 10
)

// groupLimit is the size from which a group of objects of a kind is full.
func groupLimit(k kind) int {
	if k == kindData {
		return groupSize
	}
	return dirGroupSize
}

// limits say when something is full. They are fields of a Store so that tests reach them with little.
type limits struct {
	// A session is committed by itself when it has grown to this, so that its memory is bounded, and so that the work
	// of a long ingest that is interrupted is found again by the next.
	objects int   // also the most that gc and repair keep places of in memory
	bytes   int64 // as stored
	// A pack of that many bytes is full. It bounds what gc must copy to reclaim a part of one.
	pack int64
	// How long Has may go without a look at what other processes committed.
	look time.Duration
}

// defaultLimits has packs of which 1 TB is 2000 files.
func defaultLimits() limits {
	return limits{objects: 1 << 18, bytes: 2 << 30, pack: 512 << 20, look: 100 * time.Millisecond}
}

// session is what was put since the last commit: objects in groups that are still being filled, frames in packs that no
// index names yet, and where everything is.
type session struct {
	st *Store

	mu      sync.Mutex
	sealed  bool // takes no more objects
	blobs   map[store.Digest]pending
	dirs    map[store.Digest]pending
	open    [kindDirectory + 1][laneCount]*group
	frames  []frameRef
	packs   [roleMeta + 1]*packWriter // the ones being filled
	full    []*packWriter
	bytes   int64
	writing sync.WaitGroup // groups detached and not yet written
}

// pending is an object of a session: a piece of a group.
type pending struct {
	group  *group
	offset uint32
	size   uint32
}

// group is the objects of one frame. While it is filled and written, raw holds their bytes.
type group struct {
	kind   kind
	items  []item
	raw    []byte // nil once written
	pooled bool   // raw came from the store's free buffers
	frame  int    // in session.frames, once written

	encoded []byte // what raw is compressed to, or nil where that is still to be done
}

func newSession(st *Store) *session {
	return &session{st: st, blobs: make(map[store.Digest]pending), dirs: make(map[store.Digest]pending)}
}

func (s *session) objects(k kind) map[store.Digest]pending {
	if k == kindDirectory {
		return s.dirs
	}
	return s.blobs
}

// add takes an object into the group of a lane, unless the session has it, and returns the group if it is now the caller's to
// write. It reports false where the session is sealed. alone keeps the object out of shared groups; then data is not
// copied and must stay as it is until the group is written.
func (s *session) add(k kind, lane int, d store.Digest, data []byte, alone bool) (toWrite *group, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return nil, false
	}
	objects := s.objects(k)
	if _, ok := objects[d]; ok {
		return nil, true
	}
	g := s.open[k][lane]
	switch {
	case alone:
		g = &group{kind: k, raw: data}
	case g == nil:
		g = &group{kind: k, raw: s.st.buffer(smallBuffer), pooled: true}
		s.open[k][lane] = g
	}
	objects[d] = pending{g, uint32(len(g.raw)), uint32(len(data))}
	g.items = append(g.items, item{d, uint32(len(data))})
	if alone {
		objects[d] = pending{g, 0, uint32(len(data))}
	} else {
		g.raw = s.st.extend(g.raw, data)
		if len(g.raw) < groupLimit(k) {
			return nil, true
		}
		s.open[k][lane] = nil
	}
	s.writing.Add(1)
	return g, true
}

// addGroup takes data that is compressed already as a group of its own, which is then the caller's to write. Where the
// session has any of its objects, or is sealed, it takes nothing and returns nil.
func (s *session) addGroup(items []item, raw, encoded []byte) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed || slices.ContainsFunc(items, func(it item) bool { _, ok := s.blobs[it.digest]; return ok }) {
		return nil
	}
	g := &group{kind: kindData, items: items, raw: raw, encoded: encoded}
	at := uint32(0)
	for i := range items {
		s.blobs[items[i].digest] = pending{g, at, items[i].size}
		at += items[i].size
	}
	s.writing.Add(1)
	return g
}

// find returns the object d: its place if its group is written, and otherwise a copy of its bytes.
func (s *session) find(k kind, d *store.Digest, wantData bool) (l location, data []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.objects(k)[*d]
	if !ok {
		return l, nil, false
	}
	if p.group.raw == nil {
		return location{s.frames[p.group.frame], p.offset, p.size}, nil, true
	}
	l = location{frameRef{kind: p.group.kind}, p.offset, p.size}
	if wantData {
		data = append(make([]byte, 0, p.size), p.group.raw[p.offset:][:p.size]...)
	}
	return l, data, true
}

// seal ends the session for writers and returns the groups that were not full, which are now the caller's to write. Those
// of several lanes become one where they fit, so that a small tree does not pay for having been read in parallel.
func (s *session) seal() (rest []*group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	for k := range s.open {
		var last *group
		for lane, g := range s.open[k] {
			s.open[k][lane] = nil
			switch {
			case g == nil:
			case last != nil && len(last.raw)+len(g.raw) <= groupLimit(g.kind):
				s.merge(last, g)
			default:
				s.writing.Add(1)
				rest = append(rest, g)
				last = g
			}
		}
	}
	return rest
}

// merge moves the objects of g into another group that is not full. The caller holds s.mu.
func (s *session) merge(into, g *group) {
	objects := s.objects(g.kind)
	for i := range g.items {
		p := objects[g.items[i].digest]
		p.group, p.offset = into, p.offset+uint32(len(into.raw))
		objects[g.items[i].digest] = p
	}
	into.items = append(into.items, g.items...)
	into.raw = s.st.extend(into.raw, g.raw)
	s.st.release(g.raw)
}

// large reports whether the session has grown enough to be committed.
func (s *session) large() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)+len(s.dirs) >= s.st.limits.objects || s.bytes >= s.st.limits.bytes
}

// empty reports whether nothing was put.
func (s *session) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)+len(s.dirs) == 0
}

// written records that g is in a pack. Nobody looks at its bytes any more.
func (s *session) written(g *group, f frameRef) {
	s.mu.Lock()
	g.frame = len(s.frames)
	s.frames = append(s.frames, f)
	s.bytes += int64(f.start) + int64(f.stored)
	raw := g.raw
	g.raw, g.items, g.encoded = nil, nil, nil
	s.mu.Unlock()
	if g.pooled {
		s.st.release(raw)
	}
	s.writing.Done()
}

// packWriters returns all packs of the session.
func (s *session) packWriters() []*packWriter {
	all := s.full
	for _, w := range s.packs {
		if w != nil {
			all = append(all, w)
		}
	}
	return all
}

// part returns the session for a new index. All of its groups must have been written.
func (s *session) part() indexPart {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := s.frames
	return indexPart{
		packs:  s.packRefs(),
		frames: len(frames),
		frame:  func(n int) (frameRef, bool) { return frames[n], true },
		blobs:  []table.Source{records(s.blobs)},
		dirs:   []table.Source{records(s.dirs)},
	}
}

// records returns the objects as sorted records of an index.
func records(objects map[store.Digest]pending) table.Source {
	le := binary.LittleEndian
	flat := make([]byte, 0, len(objects)*indexShape.Size())
	for d, p := range objects {
		flat = append(flat, d[:]...)
		flat = le.AppendUint32(flat, uint32(p.group.frame))
		flat = le.AppendUint32(flat, p.offset)
		flat = le.AppendUint32(flat, p.size)
	}
	return table.Sorted(indexShape, table.Sort(indexShape, flat))
}

// packRefs returns the packs of a session.
func (s *session) packRefs() (refs []packRef) {
	for _, w := range s.packWriters() {
		refs = append(refs, packRef{w.id, w.size})
	}
	return refs
}
