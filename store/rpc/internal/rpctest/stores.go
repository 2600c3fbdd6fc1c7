package rpctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"castar/store"
	"castar/store/chunk"
)

// Grouped is a store with some of its blobs in groups. It records the frames that are put.
type Grouped struct {
	store.Blobs
	Groups map[store.Digest]store.Group
	Sent   atomic.Int32 // calls of Group that returned one
	mu     sync.Mutex
	Frames [][]byte // to be read when nothing is being put
}

// NewGrouped adds an empty Grouped to st, and returns both.
func NewGrouped(st *store.Store) (*store.Store, *Grouped) {
	g := &Grouped{Blobs: st.Blobs, Groups: map[store.Digest]store.Group{}}
	st.Blobs, st.Groups = g, g
	return st, g
}

// PutGroup implements store.Grouper.
func (g *Grouped) PutGroup(ctx context.Context, raw []byte, sizes []int, frame []byte) (all []store.Digest, err error) {
	g.mu.Lock()
	g.Frames = append(g.Frames, slices.Clone(frame))
	g.mu.Unlock()
	for _, n := range sizes {
		d, err := g.Put(ctx, raw[:n])
		if err != nil {
			return nil, err
		}
		all = append(all, d)
		raw = raw[n:]
	}
	return all, nil
}

// Group implements store.Grouper.
func (g *Grouped) Group(_ context.Context, d store.Digest) (store.Group, error) {
	if group, ok := g.Groups[d]; ok {
		g.Sent.Add(1)
		return group, nil
	}
	return store.Group{}, store.ErrUnsupported
}

// Joiner is a store that takes blobs by their chunks. It counts the bytes that are put.
type Joiner struct {
	store.Blobs
	Size   int // average length of chunks
	Bytes  atomic.Int64
	OnJoin func() // called by each Join; may be nil
}

// NewJoiner adds a Joiner to st, and returns both.
func NewJoiner(st *store.Store) (*store.Store, *Joiner) {
	j := &Joiner{Blobs: st.Blobs, Size: chunk.Default().Avg}
	st.Blobs, st.Joins = j, j
	return st, j
}

// Put implements store.Blobs.
func (j *Joiner) Put(ctx context.Context, data []byte) (store.Digest, error) {
	j.Bytes.Add(int64(len(data)))
	return j.Blobs.Put(ctx, data)
}

// ChunkSize implements store.Joiner.
func (j *Joiner) ChunkSize() int { return j.Size }

// Join implements store.Joiner.
func (j *Joiner) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if j.OnJoin != nil {
		j.OnJoin()
	}
	var data []byte
	for _, c := range chunks {
		b, err := j.Open(ctx, c.Digest)
		if err != nil {
			return fmt.Errorf("chunk %w", err)
		}
		part, err := io.ReadAll(b)
		if err = errors.Join(err, b.Close()); err != nil {
			return err
		}
		data = append(data, part...)
	}
	if store.Sum(data) != d {
		return fmt.Errorf("%s: %w", d, store.ErrDigestMismatch)
	}
	_, err := j.Blobs.Put(ctx, data)
	return err
}
