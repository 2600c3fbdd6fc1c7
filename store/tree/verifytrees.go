package tree

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"castar/store"
)

// walk looks at the sizes and references in the trees of all roots. It reads each directory once, and calls file for
// each node of a file.
func (v *verifier) walk(file func(at *trail, n *store.Node)) {
	var sizes memo[store.Digest, uint64] // of directories, so that one with many references is not read for each
	seen := NewSet(v.st)
	w := walker{ctx: v.ctx, ds: v.st.Directories, deepest: anyDepth, skip: sizes.has}
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		if n.Kind == store.KindFile {
			v.result.Files++
			file(at, n)
			return false, nil
		}
		size, known := sizes.get(n.Digest)
		if known {
			v.checkDirectorySize(at, n, size)
		}
		return !known, nil
	}
	w.open = func(at *trail, n *store.Node, dir store.Directory) (bool, error) {
		size, _ := dir.Size(store.SizeDocumented) // valid ones have a size
		sizes.put(n.Digest, size)
		v.checkDirectorySize(at, n, size)
		if isNew, err := seen.Add(n.Kind, n.Digest); !isNew || err != nil {
			return false, nil
		}
		v.result.Directories++
		if v.st.Scrubber == nil { // which has counted it
			v.o.Progress.Objects.Add(1)
		}
		if at.depth == store.MaxDepth+1 {
			v.tooDeep(at, n.Digest)
		}
		return true, nil
	}
	w.failed = func(_ *trail, n *store.Node, err error) error {
		sizes.put(n.Digest, 0)
		v.lost(n.Kind, n.Digest, err)
		return v.ctx.Err()
	}
	v.inRoots(&w)
	v.result.Roots = uint64(len(v.roots)) - v.listings
	v.result.Files -= v.listings
}

// inRoots runs a walk in the trees of all roots. Only the end of the context ends it early.
func (v *verifier) inRoots(w *walker) {
	for _, r := range v.roots {
		v.st.Expect(v.ctx, r.Node)
		w.inOrder(rootTrail(r.Name), r.Node)
	}
}

// checkDirectorySize compares the size that a node records for a directory.
func (v *verifier) checkDirectorySize(at *trail, n *store.Node, size uint64) {
	if n.Size < size {
		v.addEntry(at, n, fmt.Errorf("directory %s is recorded with size %d and has %d", n.Digest, n.Size, size))
	}
}

// checkFile looks for the blob of a file in the records of the store, and compares the size that the node records.
func (v *verifier) checkFile(at *trail, n *store.Node) {
	size, err := v.st.Scrubber.BlobSize(v.ctx, n.Digest)
	if err != nil {
		v.lost(n.Kind, n.Digest, err)
	} else if size != n.Size {
		v.wrongBlobSize(at, n, size)
	}
}

func (v *verifier) wrongBlobSize(at *trail, n *store.Node, size uint64) {
	v.addEntry(at, n, fmt.Errorf("blob %s is recorded with %d bytes and has %d", n.Digest, n.Size, size))
}

// tooDeep takes in that a directory lies so deep that no other command goes there. The walk goes on below it.
func (v *verifier) tooDeep(at *trail, d store.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, &Finding{
		Damage: store.Damage{What: store.DamageDepth, Kind: store.KindDirectory, Digest: d, Err: store.ErrTooDeep},
		Hits:   []Hit{{Roots: []string{at.root()}, Paths: []string{store.ShortPath(at.path())}}},
	})
}

// mark adds to set all that the roots reach, and reports whether nothing was in the way.
func (v *verifier) mark(set store.ObjectSet) bool {
	var gap atomic.Bool
	reach(v.ctx, v.st, v.roots, func(k store.Kind, d store.Digest) (bool, error) {
		isNew, err := set.Add(k, d)
		if k == store.KindFile {
			err = nil // what is missing is found later, and hides nothing
		}
		return isNew, err
	}, func(error) error {
		gap.Store(true)
		return nil
	})
	return !gap.Load()
}

// verifyRemote is how many blobs of a remote store are read at once.
const verifyRemote = 64

// sizedBlob is a blob with the size that a node says.
type sizedBlob struct {
	digest store.Digest
	size   uint64
}

// readAll walks the trees of a store that cannot check itself, and reads each blob in them once, several at a time.
func (v *verifier) readAll() error {
	if v.o.MaxDuration > 0 {
		return fmt.Errorf("to go on where a check stopped: %w", store.ErrUnsupported)
	}
	if v.o.Parts > 1 {
		v.result.Part = 1 + rand.IntN(v.o.Parts) // the store does not remember the last one
	}
	v.wrong = map[sizedBlob]uint64{}
	jobs := max(4, runtime.GOMAXPROCS(0))
	if v.st.RemoteBlobs != nil {
		jobs = verifyRemote
		if !v.o.Structure && v.o.Parts <= 1 {
			Expect(v.ctx, v.st, v.roots, nil)
		}
	}
	var reading errgroup.Group
	reading.SetLimit(jobs)
	begun := map[store.Digest]uint64{} // the size that the first node of a blob says
	v.walk(func(_ *trail, n *store.Node) {
		if size, known := begun[n.Digest]; known && size == n.Size {
			return
		}
		begun[n.Digest] = n.Size
		v.o.Progress.Total.Add(n.Size)
		n = new(*n)
		reading.Go(func() error {
			if err := v.checkBlob(*n); err != nil {
				v.lost(n.Kind, n.Digest, err)
			}
			return nil
		})
	})
	_ = reading.Wait()
	if len(v.wrong) > 0 {
		v.findMisstated()
	}
	v.result.Objects, v.result.Bytes = v.o.Progress.Objects.Load(), v.o.Progress.Bytes.Load()
	return v.ctx.Err()
}

// findMisstated reports all nodes with a size that the blob does not have. The walk before it compared only the first
// of equal ones.
func (v *verifier) findMisstated() {
	seen := map[store.Digest]bool{}
	w := walker{ctx: v.ctx, ds: v.st.Directories, deepest: anyDepth, skip: func(d store.Digest) bool { return seen[d] }}
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		if size, wrong := v.wrong[sizedBlob{n.Digest, n.Size}]; wrong && n.Kind == store.KindFile {
			v.wrongBlobSize(at, n, size)
		}
		known := seen[n.Digest]
		if n.Kind == store.KindDirectory {
			seen[n.Digest] = true
		}
		return !known, nil
	}
	w.failed = func(*trail, *store.Node, error) error { return v.ctx.Err() } // reported before
	v.inRoots(&w)
}

// checkBlob reads a blob if its part is to be read, and otherwise looks for its chunks. It compares the size in any
// case.
func (v *verifier) checkBlob(n store.Node) error {
	blob, err := v.st.Blobs.Open(v.ctx, n.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	size := blob.Size()
	if size != n.Size {
		v.mu.Lock()
		v.wrong[sizedBlob{n.Digest, n.Size}] = size
		v.mu.Unlock()
	}
	turn := v.o.Parts <= 1 || binary.LittleEndian.Uint64(n.Digest[:])%uint64(v.o.Parts) == uint64(v.result.Part-1)
	if v.o.Structure || !turn {
		return v.checkChunks(n.Digest, size, true)
	}
	read, err := blob.WriteTo(io.Discard)
	v.o.Progress.Bytes.Add(uint64(read))
	if err == nil {
		err = v.checkChunks(n.Digest, size, false)
	}
	if err == nil {
		v.o.Progress.Objects.Add(1)
	}
	return err
}

// checkChunks looks at the list of chunks of a blob, and for the chunks of one that is not read. If a list is wrong,
// the blob can still be read, but not by a caller that asks for its chunks.
func (v *verifier) checkChunks(d store.Digest, size uint64, unread bool) error {
	chunks, err := v.st.Blobs.Chunks(v.ctx, d)
	if err != nil || len(chunks) == 0 {
		return err
	}
	sum := uint64(0)
	for _, c := range chunks {
		sum = add(sum, c.Size)
	}
	if sum != size {
		return &store.CorruptError{Digest: d, Err: fmt.Errorf("list of chunks of %d bytes, want %d", sum, size)}
	}
	if !unread {
		if len(chunks) > 1 {
			v.mu.Lock()
			v.result.Assembled++
			v.mu.Unlock()
		}
		return nil
	}
	for _, c := range chunks {
		has, err := v.st.Blobs.Has(v.ctx, c.Digest)
		if err == nil && !has {
			err = &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s: missing", c.Digest)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
