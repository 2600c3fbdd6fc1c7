package packed

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
)

// A scrub goes over what the indexes name, in these steps:
//
//  1. the store's own files: config, indexes, packs (scrubfiles.go);
//  2. every frame, in the order in which they lie on disk, each read and decoded once: what is whole gets a bit at the
//     record that led there (scrubframes.go);
//  3. every record that got none is looked up as a reader would, to learn why (scrubjudge.go);
//  4. every chunk list: its chunks are there, and together they hash to the name of the blob (scrublists.go);
//  5. what is damaged is reported, and recorded in the quarantine.
//
// Its memory is a bit for each record and 8 bytes for each frame, and a little for each damaged object.

// scrubber is one run of Scrub.
type scrubber struct {
	ctx      context.Context
	st       *Store
	o        store.ScrubOptions
	indexes  []*index
	only     *set // what to look at, or nil for everything
	deadline time.Time
	state    scrubState // what is left for the next run
	from     scrubState // where this one begins
	progress *store.ScrubProgress
	result   store.ScrubResult

	looked []bits // of each index: its frames that were looked at
	whole  marks  // records whose object is whole, at that place
	bad    marks  // records whose object is not
	// Records of chunk lists whose blob was put together and is right.
	assembled marks
	plan      []frameAt
	meta      int // how many frames of the plan, from its beginning, are not file contents

	listed   []fs.DirEntry // of the folder of indexes, before the last look for new ones
	unlisted bool          // it could not be read then

	known   *quarantine // from earlier
	packs   map[packID]*packState
	damaged map[*index]error // what is wrong with those that do not match their checksums

	mu      sync.Mutex // for what follows
	odd     map[frameKey]error
	list    []badObject
	lists   []listAt                        // that are whole, and were not found in the course of reading
	also    map[store.Digest][]store.Digest // damaged and missing chunks, and the blobs that are made of them
	missing map[store.Digest]string         // missing chunks, and where the list is that names one
}

// badObject is a record whose object is not whole.
type badObject struct {
	at     recordAt
	l      location
	digest store.Digest
	what   store.What
	err    error
	quiet  bool // not to be reported: not asked for, or a chunk list that is well, but of a chunk that is not
}

// recordAt is a record of an index.
type recordAt struct {
	index int
	kind  kind
	n     int
}

// table is the number of the record's table: 0 for blobs, and 1 for directories.
func (r recordAt) table() int {
	if r.kind == kindDirectory {
		return 1
	}
	return 0
}

// object is the kind of the record's object, as others know it.
func (r recordAt) object() store.Kind {
	if r.kind == kindDirectory {
		return store.KindDirectory
	}
	return store.KindFile
}

// Scrub implements store.Scrubber.
func (st *Store) Scrub(ctx context.Context, o store.ScrubOptions, found func(store.Damage)) (store.ScrubResult, error) {
	s := &scrubber{
		ctx: ctx, st: st, o: o, progress: o.Progress,
		packs: map[packID]*packState{}, damaged: map[*index]error{}, odd: map[frameKey]error{},
		also: map[store.Digest][]store.Digest{}, missing: map[store.Digest]string{},
	}
	if s.progress == nil {
		s.progress = new(store.ScrubProgress)
	}
	if o.Only == nil {
		if names, err := st.fs.ReadDir(indexDir); err == nil {
			s.listed = names
		} else {
			s.unlisted = true
		}
		st.refresh()
		s.indexes = *st.indexes.Load()
	} else {
		only, ok := o.Only.(*set)
		if !ok || only.st != st {
			return s.result, fmt.Errorf("a set of another store: %w", store.ErrUnsupported)
		}
		s.only, s.indexes = only, only.indexes
	}
	s.o.NoRecord = o.NoRecord || st.readOnly
	s.whole, s.bad, s.assembled = newMarks(s.indexes), newMarks(s.indexes), newMarks(s.indexes)
	for _, x := range s.indexes {
		s.looked = append(s.looked, newBits(x.frames()))
	}
	damaged := uint64(0)
	err := s.run(func(d store.Damage) {
		if !d.Harmless {
			damaged++
		}
		found(d)
	})
	if err == nil {
		s.progress.Damaged.Store(damaged) // until now it was an estimate
	}
	s.result.Objects, s.result.Bytes = s.progress.Objects.Load(), s.progress.Bytes.Load()
	return s.result, err
}

func (s *scrubber) run(found func(store.Damage)) error {
	// Other processes may have found or mended something since this one opened the store.
	known, files, unread, err := readQuarantine(s.st.fs)
	if err != nil {
		unread = append(unread, err)
	}
	s.known = known
	s.checkFiles(unread, found)
	s.readState(found)
	s.makePlan()
	s.readFrames()
	s.judge()
	s.checkLists()
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.report(found)
	s.writeState()
	s.record(files, len(unread) > 0)
	return nil
}

// each calls work for 0, 1, 2 and so on up to n, several at once, until the context ends or enough, asked before each, says
// so. It returns how many it called work for.
func (s *scrubber) each(n int, enough func() bool, work func(i int)) (done int) {
	numbers := func(yield func(int) bool) {
		for done < n && !enough() {
			done++
			if !yield(done - 1) {
				return
			}
		}
	}
	workers := runtime.GOMAXPROCS(0) + 2                                            // some may wait for their turn, or for the disk
	runParallel(s.ctx, workers, numbers, func(i int) error { work(i); return nil }) // the caller looks at the context
	return done
}

// frameAt is a frame of an index. It is small, for there is one of each frame in the store.
type frameAt struct{ index, n uint32 }

func (s *scrubber) frame(at frameAt) frameRef {
	f, _ := s.indexes[at.index].frame(int(at.n))
	return f
}

// makePlan lists the frames to look at in the order of reading: directories and chunk lists first, which are few, and
// then file contents; pack by pack, from beginning to end.
func (s *scrubber) makePlan() {
	for i, x := range s.indexes {
		wanted := s.wantedFrames(i)
		for n := range x.frames() {
			f, ok := x.frame(n)
			if !ok || wanted != nil && !wanted.has(n) {
				continue
			}
			if f.kind.role() == roleMeta || s.wantsData(f) {
				s.plan = append(s.plan, frameAt{uint32(i), uint32(n)})
			}
		}
	}
	slices.SortFunc(s.plan, func(a, b frameAt) int { return compareFrames(s.frame(a), s.frame(b)) })
	s.meta, _ = slices.BinarySearchFunc(s.plan, roleData, func(at frameAt, r role) int {
		return -cmp.Compare(s.frame(at).kind.role(), r)
	})
	total := uint64(0)
	for _, at := range s.plan {
		total += s.cost(s.frame(at))
	}
	s.progress.Total.Add(total)
}

// cost is how many bytes of a frame are read.
func (s *scrubber) cost(f frameRef) uint64 {
	if s.o.Structure && f.kind == kindData {
		return uint64(f.start)
	}
	return uint64(f.start) + uint64(f.stored)
}

func compareFrames(a, b frameRef) int {
	return cmp.Or(-cmp.Compare(a.kind.role(), b.kind.role()), slices.Compare(a.pack[:], b.pack[:]), cmp.Compare(a.offset, b.offset))
}

// wantedFrames returns the frames of index i that hold something that was asked for, or nil if that is everything.
func (s *scrubber) wantedFrames(i int) bits {
	if s.only == nil {
		return nil
	}
	x := s.indexes[i]
	wanted := newBits(x.frames())
	for _, k := range []kind{kindData, kindDirectory} {
		for n := range x.table(k).Len() {
			if frame, _, ok := x.record(k, n); ok && s.asked(recordAt{i, k, n}) {
				wanted.set(frame)
			}
		}
	}
	return wanted
}

// asked reports whether a record is among those to look at.
func (s *scrubber) asked(at recordAt) bool {
	return s.only == nil || s.only.bits[at.index][at.table()][at.n/64].Load()&(1<<(at.n%64)) != 0
}

// wantsData decides whether a frame of file contents is looked at. What is known to be lost costs nothing.
func (s *scrubber) wantsData(f frameRef) bool {
	return s.lost(f) || !s.from.Lists && s.from.reached(f) && s.inPart(f.pack[:], uint64(f.offset))
}

// late reports whether no more file contents should be read.
func (s *scrubber) late() bool { return !s.deadline.IsZero() && time.Now().After(s.deadline) }

// BlobSize implements store.Scrubber.
func (st *Store) BlobSize(_ context.Context, d store.Digest) (uint64, error) {
	l, data, err := st.lookup(kindData, d, true)
	if err != nil || l.frame.kind != kindList {
		return uint64(l.size), err
	}
	return st.listSize(d, l, data)
}

// listSize returns how long the blob d is, whose list is at l or, if it is not written yet, in data.
func (st *Store) listSize(d store.Digest, l location, data []byte) (size uint64, err error) {
	for c, err := range st.eachChunk(l, data) {
		if err != nil {
			return 0, st.about(d, err)
		}
		size += c.Size
	}
	return size, nil
}

// record returns the frame number and the place that record n of a table leads to, as far as it is possible.
func (x *index) record(k kind, n int) (frame int, l location, ok bool) {
	value := x.table(k).Record(n)[store.DigestSize:]
	l, ok = x.locate(value)
	return int(binary.LittleEndian.Uint32(value)), l, ok
}

// digest returns the key of record n of a table.
func (x *index) digest(k kind, n int) *store.Digest {
	return (*store.Digest)(x.table(k).Record(n)[:store.DigestSize])
}

// bits is a set of small numbers. It may be used concurrently.
type bits []atomic.Uint64

func newBits(n int) bits      { return make(bits, (n+63)/64) }
func (b bits) set(n int) bool { return b[n/64].Or(1<<(n%64))&(1<<(n%64)) == 0 } // whether it was not in it
func (b bits) has(n int) bool { return b[n/64].Load()&(1<<(n%64)) != 0 }

// marks is a set of records: of each index those of its blobs, and those of its directories.
type marks [][2]bits

func newMarks(indexes []*index) (m marks) {
	for _, x := range indexes {
		m = append(m, [2]bits{newBits(x.blobs.Len()), newBits(x.dirs.Len())})
	}
	return m
}

func (m marks) add(r recordAt) bool { return m[r.index][r.table()].set(r.n) }
func (m marks) has(r recordAt) bool { return m[r.index][r.table()].has(r.n) }
