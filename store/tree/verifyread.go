package tree

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"

	"castar/store"
)

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
		v.result.Part = 1 + rand.IntN(v.o.Parts) // nobody remembers which it was the last time
	}
	v.wrong = map[sizedBlob]uint64{}
	files := make(chan store.Node)
	var readers sync.WaitGroup
	for range max(4, runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			for n := range files {
				v.readFile(n)
			}
		})
	}
	sent := map[store.Digest]uint64{} // the size that the first node of a blob says
	v.walk(func(_ *trail, n *store.Node) {
		if size, known := sent[n.Digest]; !known || size != n.Size {
			sent[n.Digest] = n.Size
			v.o.Progress.Total.Add(n.Size)
			files <- *n
		}
	})
	close(files)
	readers.Wait()
	if len(v.wrong) > 0 {
		v.findMisstated()
	}
	v.result.Objects, v.result.Bytes = v.o.Progress.Objects.Load(), v.o.Progress.Bytes.Load()
	return v.ctx.Err()
}

// findMisstated reports all nodes with a size that the blob does not have: the walk before it has compared only the first
// of those that are the same.
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

// readFile reads a blob if it is its turn, and compares its size in any case.
func (v *verifier) readFile(n store.Node) {
	blob, err := v.st.Blobs.Open(v.ctx, n.Digest)
	if err != nil {
		v.lost(store.KindFile, n.Digest, err)
		return
	}
	defer blob.Close()
	if size := blob.Size(); size != n.Size {
		v.mu.Lock()
		v.wrong[sizedBlob{n.Digest, n.Size}] = size
		v.mu.Unlock()
	}
	turn := v.o.Parts <= 1 || binary.LittleEndian.Uint64(n.Digest[:])%uint64(v.o.Parts) == uint64(v.result.Part-1)
	if v.o.Structure || !turn {
		if err := v.hasChunks(n.Digest, blob.Size()); err != nil {
			v.lost(store.KindFile, n.Digest, err)
		}
		return
	}
	read, err := blob.WriteTo(io.Discard)
	v.o.Progress.Bytes.Add(uint64(read))
	var chunks []store.Chunk
	if err == nil {
		chunks, err = v.chunks(n.Digest, blob.Size())
	}
	if err != nil {
		v.lost(store.KindFile, n.Digest, err)
		return
	}
	if len(chunks) > 1 {
		v.mu.Lock()
		v.result.Assembled++
		v.mu.Unlock()
	}
	v.o.Progress.Objects.Add(1)
}

// chunks returns the chunks of a blob of that size. The error says what is wrong with their list: the blob's bytes may be
// had without it, but not by those who ask for them by chunks.
func (v *verifier) chunks(d store.Digest, size uint64) ([]store.Chunk, error) {
	chunks, err := v.st.Blobs.Chunks(v.ctx, d)
	if err != nil || len(chunks) == 0 {
		return nil, err
	}
	sum := uint64(0)
	for i := range chunks {
		sum = add(sum, chunks[i].Size)
	}
	if sum != size {
		return nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("list of chunks of %d bytes, want %d", sum, size)}
	}
	return chunks, nil
}

// hasChunks looks for the chunks of a blob that is not read.
func (v *verifier) hasChunks(d store.Digest, size uint64) error {
	chunks, err := v.chunks(d, size)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		has, err := v.st.Blobs.Has(v.ctx, c.Digest)
		if err != nil {
			return err
		}
		if !has {
			return &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s: missing", c.Digest)}
		}
	}
	return nil
}
