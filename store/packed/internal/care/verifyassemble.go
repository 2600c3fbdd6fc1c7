package care

import (
	"slices"
	"sync"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// assembler puts blobs together from chunks that come by when packs are read, so that they are decoded only once. That
// works where the chunks of a blob lie about in order, as they do unless some were there before; what it cannot finish is
// read chunk by chunk later. It takes one frame after the other, in the order of the plan, and keeps the last few, for
// chunks that were written at the same time lie in any order.
type assembler struct {
	s       *scrubber
	awaited map[store.Digest]*assembly // by the chunk that comes next
	begun   []*assembly                // the oldest first
	lists   int                        // bytes of their lists

	frames []*scrubFrame              // the last ones
	bytes  int                        // in these
	recent map[store.Digest]wholeItem // in these

	mu   sync.Mutex
	next *sync.Cond
	turn int // number of the frame that is to be taken next
}

// assembly is a blob on its way to be whole.
type assembly struct {
	list   listAt
	also   *assembly     // another that awaits the same chunk
	chunks []store.Chunk // nil: not begun
	at     int           // in chunks
	hash   *store.Hasher // of the chunks before
}

const (
	maxAwaited = 1 << 18 // blobs, each about 200 bytes
	maxBegun   = 256     // blobs, each about 20 KiB and its list
	maxRecent  = 16      // frames, each about 2.5 MiB

	maxLists       = 32 << 20 // bytes of the lists of blobs that are begun
	maxRecentBytes = 64 << 20 // of the last frames
)

// newAssembler returns one that knows the beginnings of all blobs that are to be put together.
func (s *scrubber) newAssembler() *assembler {
	a := &assembler{s: s, awaited: make(map[store.Digest]*assembly), recent: make(map[store.Digest]wholeItem)}
	a.next = sync.NewCond(&a.mu)
	if s.o.Structure || s.from.Lists {
		return a
	}
	for _, at := range s.plan[:s.meta] {
		f := s.frame(at)
		if f.Kind != pack.KindList {
			continue
		}
		lists, _ := s.listsIn(f) // otherwise they are put together later
		for _, list := range lists {
			if s.ctx.Err() != nil || len(a.awaited) == maxAwaited {
				return a
			}
			if list.l.Size > maxLists || !s.inPart(list.digest[:], 0) {
				continue
			}
			for first, err := range s.st.Packs.Chunks(list.l, nil) {
				if err == nil {
					a.await(&assembly{list: list}, first.Digest)
				}
				break
			}
		}
	}
	return a
}

// await notes which chunk b needs next.
func (a *assembler) await(b *assembly, d store.Digest) {
	b.also = a.awaited[d]
	a.awaited[d] = b
}

// take waits for the turn of frame i and takes it. It returns another that may be used for the next.
func (a *assembler) take(i int, f *scrubFrame) (next *scrubFrame) {
	a.mu.Lock()
	for a.turn != i {
		a.next.Wait()
	}
	a.mu.Unlock()
	next = f
	if len(a.awaited) > 0 {
		next = a.keep(f)
		for _, it := range f.whole {
			a.feed(it)
		}
	}
	a.mu.Lock()
	a.turn++
	a.next.Broadcast()
	a.mu.Unlock()
	return next
}

// keep makes f one of the last frames, and returns the oldest of them or a new one in its place.
func (a *assembler) keep(f *scrubFrame) (oldest *scrubFrame) {
	a.frames = append(a.frames, f)
	a.bytes += f.Memory()
	for _, it := range f.whole {
		a.recent[it.digest] = it
	}
	oldest = new(scrubFrame)
	for len(a.frames) > maxRecent || a.bytes > maxRecentBytes && len(a.frames) > 1 {
		oldest = a.frames[0]
		a.frames = append(a.frames[:0], a.frames[1:]...)
		a.bytes -= oldest.Memory()
		for _, it := range oldest.whole {
			if r := a.recent[it.digest]; len(it.data) == 0 || &r.data[0] == &it.data[0] {
				delete(a.recent, it.digest)
			}
		}
	}
	return oldest
}

// feed gives a chunk to all that await it. Only one goroutine feeds at a time.
func (a *assembler) feed(it wholeItem) {
	b, ok := a.awaited[it.digest]
	if !ok {
		return
	}
	delete(a.awaited, it.digest)
	for b != nil {
		following := b.also
		a.grow(b, it)
		b = following
	}
}

// grow appends a chunk to a blob, and then those that are at hand.
func (a *assembler) grow(b *assembly, it wholeItem) {
	if b.chunks == nil {
		chunks, err := a.s.st.ChunkList(b.list.digest, b.list.l, nil)
		if err != nil || chunks == nil {
			return // it is for others to report
		}
		b.chunks, b.hash = chunks, new(store.Hasher)
		a.begin(b)
	}
	if b.hash == nil {
		return // given up
	}
	for ok := true; ok; it, ok = a.recent[b.chunks[b.at].Digest] {
		b.hash.Write(it.data)
		if b.at++; b.at < len(b.chunks) {
			continue
		}
		if b.hash.Sum() == b.list.digest { // otherwise it is read again later, to be sure
			a.s.assembled.Add(b.list.at)
		}
		a.end(b)
		return
	}
	a.await(b, b.chunks[b.at].Digest)
}

// end forgets what a blob needed, whether it was finished or not. It has no hash then.
func (a *assembler) end(b *assembly) {
	a.lists -= int(b.list.l.Size)
	b.hash, b.chunks = nil, []store.Chunk{}
}

// begin keeps the number of begun blobs, and their lists, within bounds.
func (a *assembler) begin(b *assembly) {
	a.begun = append(a.begun, b)
	a.lists += int(b.list.l.Size)
	if len(a.begun) < 2*maxBegun && a.lists <= maxLists {
		return
	}
	open := slices.DeleteFunc(a.begun, func(b *assembly) bool { return b.hash == nil })
	for len(open) > maxBegun || a.lists > maxLists {
		a.end(open[0])
		open = open[1:]
	}
	a.begun = slices.Clone(open)
}

// scrubFrame is a frame that was read, and room for one.
type scrubFrame struct {
	pack.Loaded
	records [][]index.At // that lead to each item
	whole   []wholeItem
}

// wholeItem is an item of a frame that is whole.
type wholeItem struct {
	digest store.Digest
	data   []byte // part of the frame
}
