package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"time"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// A scrub goes over what the indexes name, in these steps:
//
//  1. the store's own files: config, indexes, packs (verifyfiles.go);
//  2. every frame, in the order in which they lie on disk, each read and decoded once: what is whole gets a bit at the
//     record that led there (verifyframes.go);
//  3. every record that got none is looked up as a reader would, to learn why (verifyjudge.go);
//  4. every chunk list: its chunks are there, and together they hash to the name of the blob (verifylists.go);
//  5. what is damaged is reported, and recorded in the quarantine.
//
// Its memory is a bit for each record and 8 bytes for each frame, and a little for each damaged object.

// scrubber is one run of Scrub.
type scrubber struct {
	ctx      context.Context
	st       Store
	o        store.ScrubOptions
	indexes  []*index.Index
	only     *live.Set // what to look at, or nil for everything
	deadline time.Time
	state    scrubState // what is left for the next run
	from     scrubState // where this one begins
	progress *store.ScrubProgress
	result   store.ScrubResult

	looked []index.Bits // of each index: its frames that were looked at
	whole  index.Marks  // records whose object is whole, at that place
	bad    index.Marks  // records whose object is not
	// Records of chunk lists whose blob was put together and is right.
	assembled index.Marks
	plan      []frameAt
	meta      int // how many frames of the plan, from its beginning, are not file contents

	indexFiles       []fs.DirEntry // of the folder of indexes, before the last look for new ones
	indexFilesUnread bool          // it could not be read then

	known   *sealed.Quarantine // from earlier
	packs   map[pack.ID]*packState
	damaged map[*index.Index]error // what is wrong with those that do not match their checksums

	mu         sync.Mutex // for what follows
	odd        map[pack.Key]error
	badObjects []badObject
	chunkLists []listAt                        // that are whole, and were not found in the course of reading
	also       map[store.Digest][]store.Digest // damaged and missing chunks, and the blobs that are made of them
	missing    map[store.Digest]string         // missing chunks, and where the list is that names one

	held error // why quarantine and state must not be written, although they may be otherwise
}

// badObject is a record whose object is not whole.
type badObject struct {
	at     index.At
	l      pack.Location
	digest store.Digest
	what   store.DamageKind
	err    error
	quiet  bool // not to be reported: not asked for, or a chunk list that is well, but of a chunk that is not
}

// Scrub implements store.Scrubber.
func (st Store) Scrub(ctx context.Context, o store.ScrubOptions, found func(store.Damage)) (store.ScrubResult, error) {
	s := &scrubber{
		ctx: ctx, st: st, o: o, progress: o.Progress,
		packs: map[pack.ID]*packState{}, damaged: map[*index.Index]error{}, odd: map[pack.Key]error{},
		also: map[store.Digest][]store.Digest{}, missing: map[store.Digest]string{},
	}
	if s.progress == nil {
		s.progress = new(store.ScrubProgress)
	}
	if o.Only == nil {
		if names, err := st.Fs.ReadDir(index.Dir); err == nil {
			s.indexFiles = names
		} else {
			s.indexFilesUnread = true
		}
		st.Refresh()
		s.indexes = *st.Indexes.Load()
	} else {
		only, ok := o.Only.(*live.Set)
		if !ok || only.St != st.Store {
			return s.result, fmt.Errorf("a set of another store: %w", store.ErrUnsupported)
		}
		s.only, s.indexes = only, only.Indexes
	}
	s.o.NoRecord = o.NoRecord || st.ReadOnly
	s.whole, s.bad, s.assembled = index.NewMarks(s.indexes), index.NewMarks(s.indexes), index.NewMarks(s.indexes)
	s.looked = frameBits(s.indexes)
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
	s.early()
	// Other processes may have found or mended something since this one opened the store.
	known, files, unread, err := sealed.ReadQuarantine(s.st.Fs)
	if err != nil {
		unread = append(unread, err)
	}
	unread = slices.DeleteFunc(unread, func(err error) bool {
		isNewer := errors.Is(err, store.ErrNewer)
		if isNewer {
			s.held = s.newer(err)
		}
		return isNewer
	})
	s.known = known
	s.checkFiles(unread, found)
	s.readState(found)
	s.plan, s.meta = s.frames()
	for _, at := range s.plan {
		s.progress.Total.Add(s.cost(s.frame(at)))
	}
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

// newer takes in what a newer program wrote, and returns err.
func (s *scrubber) newer(err error) error {
	s.result.Newer = append(s.result.Newer, err)
	return err
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

// frameAt is a frame of an index. It is small, because there is one for each frame in the store.
type frameAt struct{ index, n uint32 }

func (s *scrubber) frame(at frameAt) pack.Frame {
	f, _ := s.indexes[at.index].Frame(int(at.n))
	return f
}

// frames returns the frames to look at in the order of reading: directories and chunk lists first, which are few and whose
// number is meta, and then file contents; pack by pack, from beginning to end.
func (s *scrubber) frames() (all []frameAt, meta int) {
	wanted := s.wantedFrames()
	for i, x := range s.indexes {
		for n := range x.Frames() {
			f, ok := x.Frame(n)
			if !ok || wanted != nil && !wanted[i].Has(n) {
				continue
			}
			if f.Kind.Role() == pack.RoleMeta || s.wantsData(f) {
				all = append(all, frameAt{uint32(i), uint32(n)})
			}
		}
	}
	slices.SortFunc(all, func(a, b frameAt) int { return compareFrames(s.frame(a), s.frame(b)) })
	meta, _ = slices.BinarySearchFunc(all, pack.RoleData, func(at frameAt, r pack.Role) int {
		return -cmp.Compare(s.frame(at).Kind.Role(), r)
	})
	return all, meta
}

// cost is how many bytes of a frame are read.
func (s *scrubber) cost(f pack.Frame) uint64 {
	if s.o.Structure && f.Kind == pack.KindData {
		return uint64(f.Start)
	}
	return uint64(f.Start) + uint64(f.Stored)
}

func compareFrames(a, b pack.Frame) int {
	return cmp.Or(-cmp.Compare(a.Kind.Role(), b.Kind.Role()), slices.Compare(a.Pack[:], b.Pack[:]), cmp.Compare(a.Offset, b.Offset))
}

func compareLocations(a, b pack.Location) int {
	return cmp.Or(compareFrames(a.Frame, b.Frame), cmp.Compare(a.Offset, b.Offset))
}

// wantedFrames returns the frames of each index that hold something that was asked for, or nil if that is everything.
func (s *scrubber) wantedFrames() (wanted []index.Bits) {
	if s.only == nil {
		return nil
	}
	wanted = frameBits(s.indexes)
	for at := range index.Records(s.indexes) {
		if frame, _, ok := s.indexes[at.Index].Record(at.Kind, at.N); ok && s.asked(at) {
			wanted[at.Index].Add(frame)
		}
	}
	return wanted
}

func frameBits(indexes []*index.Index) (bits []index.Bits) {
	for _, x := range indexes {
		bits = append(bits, index.NewBits(x.Frames()))
	}
	return bits
}

func (s *scrubber) asked(at index.At) bool {
	return s.only == nil || s.only.Marks.Has(at)
}

// wantsData decides whether a frame of file contents is looked at. What is known to be lost costs nothing.
func (s *scrubber) wantsData(f pack.Frame) bool {
	return s.lost(f) || !s.from.Lists && s.from.reached(f) && s.inPart(f.Pack[:], uint64(f.Offset))
}

func (s *scrubber) late() bool { return !s.deadline.IsZero() && time.Now().After(s.deadline) }
