package tree

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"

	"castar/store"
	"castar/store/chunk"
	"castar/store/zstd"
)

// groups copies blobs in the groups that the source compresses them in, so that nothing is compressed again. A group
// goes to the destination as it is if the roots reach everything in it, and the destination has nothing of it. From any
// other group the destination gets what the roots reach and it lacks, and recompresses that. Everything is checked. The
// methods may be called concurrently, and also of a nil pointer.
type groups struct {
	from, to *store.Store
	read     func(context.Context, store.Digest) (store.Group, error) // of from
	longest  uint64                                                   // of a blob in a group that goes as it is
	decoder  *zstd.Decoder
	room     chan struct{} // one for each group that is being copied
	long     chan struct{} // one for each blob of several chunks
	buffers  sync.Pool     // of *[]byte

	wanted store.ObjectSet // all that the roots reach
	copied store.ObjectSet // what the destination got

	turn   sync.Mutex // held while a group is read: the next caller may want the same one
	mu     sync.Mutex
	recent map[store.Digest]groupMember // what is in the groups of order
	order  []*copiedGroup               // being copied, and those that were copied last; the oldest first
	failed map[store.Digest]bool        // what is damaged in groups; under turn
}

// copiedGroup is a group that is being copied, or was.
type copiedGroup struct {
	store.Group
	done  chan struct{} // closed when it was copied
	users int           // of raw; under groups.mu
	// Valid once done is closed:
	raw   []byte  // what the group decodes to
	buf   *[]byte // memory of raw that is used again, or nil
	taken []bool  // of each member, whether the destination got it
	err   error   // of the destination
}

// groupMember is where a blob or chunk is in a group.
type groupMember struct {
	group        *copiedGroup
	number       int
	offset, size uint64
}

// recentGroups is how many groups are remembered, at least. Long files that follow each other have chunks in the same one.
const recentGroups = 16

// groupBuffer holds what most groups decode to. Memory that is used again need not be mapped and cleared.
const groupBuffer = 3 << 20

const longestGroup = 64 << 20 // bytes that a group may decode to: more than those that castar makes

// aheadBytes is about how much of a long blob is copied ahead: some groups, so that each processor has one to decode.
const aheadBytes = 8 << 20

// remoteGroups is how many groups are on their way to a remote store at once, at least.
const remoteGroups = 8

// newGroups returns nil if one of the stores has no groups, or if they cut blobs at different lengths. A remote source may
// cut them anywhere, but then no chunks are copied in groups, and no blob that the destination could cut.
func newGroups(from, to *store.Store) *groups {
	if to.Takes == nil {
		return nil
	}
	g := &groups{from: from, to: to, longest: math.MaxUint64}
	switch average := to.Takes.ChunkSize(); {
	case from.Groups != nil && from.Joins != nil && from.Joins.ChunkSize() == average:
		g.read = from.Groups.Group
	case from.RemoteBlobs != nil && to.RemoteBlobs == nil:
		g.read = from.RemoteBlobs.Group
		if from.Takes == nil || from.Takes.ChunkSize() != average {
			g.longest = uint64(average) / 2
		}
	default:
		return nil
	}
	jobs := runtime.GOMAXPROCS(0)
	if to.RemoteBlobs != nil {
		jobs = max(jobs, remoteGroups)
	}
	var err error
	if g.decoder, err = zstd.NewDecoder(jobs); err != nil {
		return nil
	}
	g.room, g.long = make(chan struct{}, jobs+1), make(chan struct{}, jobs)
	g.wanted, g.copied = NewSet(from), NewSet(from)
	g.recent, g.failed = map[store.Digest]groupMember{}, map[store.Digest]bool{}
	return g
}

// want adds what roots reach. What cannot be read is left out: the copy will name it.
func (g *groups) want(ctx context.Context, roots []Root) {
	if g.from.RemoteBlobs == nil {
		_ = reach(ctx, g.from, roots, g.wanted.Add, func(error) error { return ctx.Err() })
		return
	}
	expectAll(ctx, g.from, roots) // and not reach, which would ask for the chunks of each blob
	for d := range files(ctx, g.from.Directories, roots, nil) {
		_, _ = g.wanted.Add(store.KindFile, d)
	}
}

// took reports whether the destination got d from a recent group, and how long d is. It waits for a group that is being
// copied.
func (g *groups) took(d store.Digest) (size uint64, ok bool) {
	if g == nil {
		return 0, false
	}
	g.mu.Lock()
	m, ok := g.recent[d]
	g.mu.Unlock()
	if !ok {
		return 0, false
	}
	<-m.group.done
	return m.size, m.group.taken[m.number]
}

// has reports whether the destination got d from a group that was copied.
func (g *groups) has(d store.Digest) bool { return g != nil && g.copied.Has(store.KindFile, d) }

// blob copies the blob d, which the destination lacks, and reports whether it did. If not, the blob must be copied by
// itself. An error is one of the destination.
func (g *groups) blob(ctx context.Context, d store.Digest) (bool, error) {
	if g == nil {
		return false, nil
	}
	if g.from.RemoteBlobs == nil {
		chunks, err := g.from.Blobs.Chunks(ctx, d)
		if err != nil {
			return false, nil // CopyBlob will meet it too
		}
		if len(chunks) > 0 {
			return g.join(ctx, d, chunks)
		}
	}
	piece, ok, err := g.piece(ctx, d, false)
	if ok {
		piece.Release()
	}
	return ok, err
}

// errSingly says that a blob has to be copied by itself.
var errSingly = errors.New("not in groups")

// join copies the chunks of the blob d, several at once, and then the list of them, if they make up the blob.
func (g *groups) join(ctx context.Context, d store.Digest, chunks []store.Chunk) (bool, error) {
	g.long <- struct{}{}
	defer func() { <-g.long }()
	size := uint64(0)
	for i := range chunks {
		size = add(size, chunks[i].Size)
	}
	if size == 0 || size == math.MaxUint64 {
		return false, nil
	}
	all := chunk.NewReader(ctx, chunk.Source{
		Digest: d, Chunks: chunks, Most: max(cap(g.room), aheadBytes/g.from.Joins.ChunkSize()),
		// Others wait for the group too, so what ends this blob must not end the copy of the group.
		Fetch: func(_ context.Context, i int, _ bool) (chunk.Piece, error) {
			p, ok, err := g.piece(ctx, chunks[i].Digest, true)
			if ok && uint64(len(p.Data)) == chunks[i].Size {
				return p, nil
			} else if ok {
				p.Release()
			}
			return chunk.Piece{}, cmp.Or(err, errSingly)
		},
		Mismatch: func(error) error { return errSingly },
	})
	defer all.Close()
	_, err := all.WriteTo(io.Discard)
	if err == nil {
		err = g.to.Takes.TakeList(ctx, d, chunks)
	}
	if err == errSingly {
		return false, nil
	}
	return err == nil, err
}

// piece has the group of a chunk copied, and returns the chunk once the destination has it. It reports false if that cannot
// be done. If bytes is not set, it returns no bytes of a chunk whose group was copied before.
func (g *groups) piece(ctx context.Context, d store.Digest, bytes bool) (p chunk.Piece, ok bool, err error) {
	m, ok := g.find(d)
	if !ok {
		m, ok = g.copyGroupOf(ctx, d, bytes)
	}
	if !ok {
		return chunk.Piece{Release: func() {}}, !bytes && g.has(d), nil
	}
	<-m.group.done
	if ok, err = m.group.taken[m.number], m.group.err; !ok && err == nil {
		ok, err = g.to.Blobs.Has(ctx, d)
	}
	if !ok || err != nil {
		g.drop(m.group)
		return p, false, err
	}
	return chunk.Piece{Data: m.group.raw[m.offset:][:m.size], Release: func() { g.drop(m.group) }}, true, nil
}

// copyGroupOf copies the group of d, unless another goroutine does, and returns where d is in it. The caller must drop it. It
// reports false if d is in none, or was copied before and again is not set.
func (g *groups) copyGroupOf(ctx context.Context, d store.Digest, again bool) (groupMember, bool) {
	g.room <- struct{}{}
	defer func() { <-g.room }()
	if !again && g.has(d) { // while this waited for room
		return groupMember{}, false
	}
	m, isNew, ok := g.begin(ctx, d)
	if isNew {
		m.group.err = g.copy(ctx, m.group)
		if m.group.Frame != nil {
			m.group.release()
		}
		close(m.group.done)
	}
	return m, ok
}

// begin returns where d is in its group, which the caller must drop, or false if it is in none. isNew says that the caller
// must copy the group.
func (g *groups) begin(ctx context.Context, d store.Digest) (m groupMember, isNew, ok bool) {
	g.turn.Lock()
	defer g.turn.Unlock()
	if m, ok = g.find(d); ok || g.failed[d] {
		return m, false, ok
	}
	read, err := g.read(ctx, d)
	if err != nil { // which CopyBlob will meet too
		return m, false, false
	}
	if !slices.ContainsFunc(read.Members, func(c store.Chunk) bool { return c.Digest == d }) {
		g.failed[d] = true
		return m, false, false
	}
	g.add(&copiedGroup{Group: read, done: make(chan struct{}), users: 1, taken: make([]bool, len(read.Members))})
	m, _ = g.find(d)
	return m, true, true
}

// find returns where d is in a recent group, which the caller must drop.
func (g *groups) find(d store.Digest) (m groupMember, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m, ok = g.recent[d]; ok {
		m.group.users++
	}
	return m, ok
}

// add makes a group the most recent one, and forgets the oldest.
func (g *groups) add(group *copiedGroup) {
	g.mu.Lock()
	at := uint64(0)
	for i, c := range group.Members {
		g.recent[c.Digest] = groupMember{group, i, at, c.Size}
		at += c.Size
	}
	g.order = append(g.order, group)
	var oldest *copiedGroup
	if len(g.order) > max(recentGroups, cap(g.room)) {
		oldest, g.order = g.order[0], g.order[1:]
		for i := range oldest.Members {
			if d := oldest.Members[i].Digest; g.recent[d].group == oldest {
				delete(g.recent, d)
			}
		}
	}
	g.mu.Unlock()
	if oldest != nil {
		g.drop(oldest)
	}
}

// drop says that one user less looks at a group.
func (g *groups) drop(group *copiedGroup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if group.users--; group.users > 0 {
		return
	}
	group.release()
	if group.buf != nil {
		g.buffers.Put(group.buf)
		group.raw, group.buf = nil, nil
	}
}

// release gives the memory of the group in its store back.
func (group *copiedGroup) release() {
	if group.Release != nil {
		group.Release()
	}
	group.Frame, group.Plain, group.Release = nil, nil, nil
}

// copy gives the destination what it needs of a group. An error is one of the destination.
func (g *groups) copy(ctx context.Context, group *copiedGroup) error {
	if !g.decode(group) {
		g.fail(group.Members)
		return nil
	}
	rest, all := group.raw, group.Frame != nil && zstd.Single(group.Frame)
	wanted := make([][]byte, len(group.Members))
	for i, m := range group.Members {
		data := rest[:m.Size]
		rest = rest[m.Size:]
		if store.Sum(data) != m.Digest {
			g.fail(group.Members[i : i+1])
		} else if g.wanted.Has(store.KindFile, m.Digest) {
			wanted[i] = data
		}
		all = all && wanted[i] != nil && m.Size <= g.longest
	}
	if all {
		taken, err := g.to.Takes.TakeGroup(ctx, group.Group, group.raw)
		for i := 0; i < len(group.Members) && taken && err == nil; i++ {
			g.note(group, i)
		}
		if taken || err != nil {
			return err
		}
	}
	return g.copySingly(ctx, group, wanted)
}

// copySingly copies members of a group, those that wanted has the bytes of, one by one.
func (g *groups) copySingly(ctx context.Context, group *copiedGroup, wanted [][]byte) error {
	var ds []store.Digest
	for i := range wanted {
		if wanted[i] != nil {
			ds = append(ds, group.Members[i].Digest)
		}
	}
	has, err := g.to.HasAll(ctx, ds)
	for i := 0; i < len(wanted) && err == nil; i++ {
		if wanted[i] == nil {
			continue
		}
		if !has[0] {
			_, err = g.to.Blobs.Put(ctx, wanted[i])
			g.note(group, i)
		}
		has = has[1:]
	}
	return err
}

func (g *groups) note(group *copiedGroup, i int) {
	group.taken[i] = true
	_, _ = g.copied.Add(store.KindFile, group.Members[i].Digest) // what it does not take counts as one that was there
}

// fail notes what is damaged in a group: it is not looked for there again.
func (g *groups) fail(members []store.Chunk) {
	g.turn.Lock()
	defer g.turn.Unlock()
	for i := range members {
		g.failed[members[i].Digest] = true
	}
}

// decode decodes a group, and reports whether that makes as many bytes as its members have.
func (g *groups) decode(group *copiedGroup) bool {
	total := uint64(0)
	for i := range group.Members {
		if group.Members[i].Size > longestGroup-total {
			return false
		}
		total += group.Members[i].Size
	}
	if group.Frame == nil {
		group.raw = group.Plain
		return uint64(len(group.raw)) == total
	}
	buf, ok := g.buffers.Get().(*[]byte)
	if !ok || uint64(cap(*buf)) < total {
		buf = new(make([]byte, total, max(total, groupBuffer)))
	}
	group.buf, group.raw = buf, (*buf)[:total]
	return g.decoder.Decode(group.raw, group.Frame) == nil
}
