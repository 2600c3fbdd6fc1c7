package live

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
	"castar/store/table"
)

// Limits say when something is full. They are fields of a Store so that tests can reach them with little data.
type Limits struct {
	// A session that has grown to this is committed. That bounds its memory, and an ingest after one that was interrupted
	// finds most of its work done.
	Objects int   // also how many locations gc and repair keep in memory
	Bytes   int64 // as stored
	// A pack of that many bytes is full. It bounds what gc must copy to reclaim a part of one.
	Pack int64
	// How long Has may go without a look at what other processes committed.
	Look time.Duration
}

// defaultLimits has packs such that 1 TB is 2000 files.
func defaultLimits() Limits {
	return Limits{Objects: 1 << 18, Bytes: 2 << 30, Pack: 512 << 20, Look: 100 * time.Millisecond}
}

// session is what was put since the last commit: objects in groups that are still being filled, frames in packs that no
// index names yet, and where everything is.
type session struct {
	st *Store

	mu      sync.Mutex
	ended   bool                        // takes no more objects
	objects [2]map[store.Digest]pending // by pack.Kind.Table
	open    [pack.Kinds][laneCount]*sessionGroup
	out     *pack.Writer
	frames  []pack.Frame
	bytes   int64
	writing sync.WaitGroup // groups detached and not yet written
}

// pending is an object of a session: a piece of a group.
type pending struct {
	group  *sessionGroup
	offset uint32
	size   uint32
}

// sessionGroup is the objects of one frame. Once it is written, it has no bytes any more.
type sessionGroup struct {
	*pack.Group
	frame int // in session.frames, once written
}

func newSession(st *Store) *session {
	return &session{st: st, out: st.NewWriter(), objects: [2]map[store.Digest]pending{{}, {}}}
}

// NewWriter returns a writer of packs of the length that the limits say. In a bucket the first packs are shorter, so that
// sending begins early, and the last of a small session takes little time.
func (st *Store) NewWriter() *pack.Writer {
	return st.Packs.NewWriter(func(before int64) int64 {
		if st.Bucket == nil {
			return st.Limits.Pack
		}
		return min(max(before/4, st.Limits.Pack/3), st.Limits.Pack)
	})
}

// add takes an object into the group of a lane, unless the session has it. If it returns a group, the caller must write the
// group. It reports false if the session has ended. If at is not nil, it keeps the object out of shared groups, and is its
// offset in a blob; then data is not copied and must not change until the group is written.
func (s *session) add(k pack.Kind, lane int, d store.Digest, data []byte, at *uint64) (toWrite *sessionGroup, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	objects := s.objects[k.Table()]
	if _, ok := objects[d]; ok {
		return nil, true
	}
	if k == pack.KindData {
		s.st.added.contents.Add(uint64(len(data)))
	}
	var g *sessionGroup
	if at != nil {
		items := []pack.Item{{Digest: d, Size: uint32(len(data))}}
		g = &sessionGroup{Group: &pack.Group{Kind: k, Items: items, Raw: data, InBlob: k == pack.KindData, At: *at}}
		objects[d] = pending{g, 0, uint32(len(data))}
	} else {
		if g = s.open[k][lane]; g == nil {
			g = &sessionGroup{Group: s.st.Packs.NewGroup(k)}
			s.open[k][lane] = g
		}
		offset, full := s.st.Packs.Add(g.Group, d, data)
		objects[d] = pending{g, offset, uint32(len(data))}
		if !full {
			return nil, true
		}
		s.open[k][lane] = nil
	}
	s.writing.Add(1)
	return g, true
}

// addGroup adds a group of contents, and returns it. The caller must write it. If the session has any of its objects, or
// has ended, or if an object is in the group twice, addGroup does nothing and returns nil.
func (s *session) addGroup(of *pack.Group) *sessionGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	blobs := s.objects[pack.KindData.Table()]
	if s.ended || slices.ContainsFunc(of.Items, func(it pack.Item) bool { _, ok := blobs[it.Digest]; return ok }) {
		return nil
	}
	g := &sessionGroup{Group: of}
	at, before := uint32(0), len(blobs)
	for _, it := range of.Items {
		blobs[it.Digest] = pending{g, at, it.Size}
		at += it.Size
	}
	if len(blobs) < before+len(of.Items) {
		for _, it := range of.Items {
			delete(blobs, it.Digest)
		}
		return nil
	}
	s.st.added.contents.Add(uint64(at))
	s.writing.Add(1)
	return g
}

// find returns the object d: its place if its group is written, and otherwise a copy of its bytes.
func (s *session) find(k pack.Kind, d *store.Digest, wantData bool) (l pack.Location, data []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.objects[k.Table()][*d]
	if !ok {
		return l, nil, false
	}
	if p.group.Raw == nil {
		return pack.Location{Frame: s.frames[p.group.frame], Offset: p.offset, Size: p.size}, nil, true
	}
	l = pack.Location{Frame: pack.Frame{Kind: p.group.Kind}, Offset: p.offset, Size: p.size}
	if wantData {
		data = append(make([]byte, 0, p.size), p.group.Raw[p.offset:][:p.size]...)
	}
	return l, data, true
}

// list returns the session's digests that begin with the first nibbles hexadecimal digits of prefix.
func (s *session) list(prefix store.Digest, nibbles int) (found []store.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	matches := func(d store.Digest) bool {
		whole := nibbles / 2
		return slices.Equal(d[:whole], prefix[:whole]) && (nibbles%2 == 0 || d[whole]>>4 == prefix[whole]>>4)
	}
	for _, objects := range s.objects {
		for d := range objects {
			if matches(d) {
				found = append(found, d)
			}
		}
	}
	return found
}

// end ends the session for writers and returns the groups that are not full, which the caller must write. It merges groups
// of several lanes that fit together, so that a small tree takes no more space because it was read in parallel.
func (s *session) end() (rest []*sessionGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for k := range s.open {
		var last *sessionGroup
		for lane, g := range s.open[k] {
			s.open[k][lane] = nil
			switch {
			case g == nil:
			case last != nil && len(last.Raw)+len(g.Raw) <= pack.GroupLimit(g.Kind):
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
func (s *session) merge(into, g *sessionGroup) {
	objects := s.objects[g.Kind.Table()]
	for i := range g.Items {
		p := objects[g.Items[i].Digest]
		p.group, p.offset = into, p.offset+uint32(len(into.Raw))
		objects[g.Items[i].Digest] = p
	}
	s.st.Packs.Merge(into.Group, g.Group)
}

// large reports whether the session has grown enough to be committed.
func (s *session) large() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count() >= s.st.Limits.Objects || s.bytes >= s.st.Limits.Bytes
}

// empty reports whether nothing was put.
func (s *session) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count() == 0
}

// count returns how many objects were put. The caller holds s.mu.
func (s *session) count() int { return len(s.objects[0]) + len(s.objects[1]) }

// write makes a frame of a group, and frees its bytes. A group that add returned must be given to write, once. An error ends all writing to the
// store: objects that refer to the group may already be there.
func (s *session) write(g *sessionGroup) error {
	defer s.writing.Done()
	f, err := s.out.Append(g.Group)
	if err != nil {
		err = s.st.Fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !g.Pooled() {
			g.Raw = bytes.Clone(g.Raw) // the caller's, who may change it now
		}
		return err
	}
	g.frame = len(s.frames)
	s.frames = append(s.frames, f)
	s.bytes += f.Length()
	s.st.added.stored.Add(uint64(f.Length()))
	s.st.Packs.Drop(g.Group)
	return nil
}

// part returns the session for a new index. All of its groups must have been written.
func (s *session) part() index.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	tables := [2][]table.Source{{records(s.objects[0])}, {records(s.objects[1])}}
	return index.Part{Packs: s.out.Lengths(), Tables: tables}.WithFrames(s.frames)
}

// records returns the objects as sorted records of an index.
func records(objects map[store.Digest]pending) table.Source {
	return index.Sorted(len(objects), func(yield func(store.Digest, index.Value) bool) {
		for d, p := range objects {
			if !yield(d, index.Value{Frame: uint32(p.group.frame), Offset: p.offset, Size: p.size}) {
				return
			}
		}
	})
}

// Put stores an object under its digest, unless the store has it. The lane is 0 for all kinds but data.
func (st *Store) Put(k pack.Kind, lane int, d store.Digest, data []byte) error {
	if st.Has(k, &d) {
		return nil
	}
	if k == pack.KindList && len(data) > pack.MaxList {
		return fmt.Errorf("a blob of %d chunks: at most %d", len(data)/pack.ItemLen, pack.MaxList/pack.ItemLen)
	}
	if len(data) >= pack.GroupSize || k == pack.KindData && len(data) >= pack.PlainFrom && st.Packs.Incompressible(data) {
		return st.put(k, lane, d, data, new(uint64(0)), false)
	}
	return st.put(k, lane, d, data, nil, false)
}

// put is Put for an object that the store lacks. If at is not nil, the object gets a frame of its own, and lies at that offset
// in a blob. inSlot says that the caller holds a slot.
func (st *Store) put(k pack.Kind, lane int, d store.Digest, data []byte, at *uint64, inSlot bool) error {
	for {
		s, err := st.taking()
		if err != nil {
			return err
		}
		g, ok := s.add(k, lane, d, data, at)
		if !ok {
			continue // it has just ended, and there is a new session
		}
		if g == nil {
			return nil
		}
		return st.write(s, g, inSlot)
	}
}

// checkpoint commits the session if it has grown large, unless another caller is doing so. The caller must hold no slot: a
// commit waits for groups, and their writers may wait for a slot.
func (st *Store) checkpoint() error {
	st.mu.Lock()
	s := st.current
	st.mu.Unlock()
	if !s.large() || !st.commit.TryLock() {
		return nil
	}
	defer st.commit.Unlock()
	st.mu.Lock()
	again := st.current == s
	st.mu.Unlock()
	if !again {
		return nil // the other one committed it
	}
	return st.commitLocked(nil)
}

// PutWhole stores an object that is not cut into chunks, and commits the session if it has grown large.
func (st *Store) PutWhole(k pack.Kind, lane int, d store.Digest, data []byte) error {
	if err := st.Put(k, lane, d, data); err != nil {
		return err
	}
	return st.checkpoint()
}
