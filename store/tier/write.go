package tier

import (
	"context"
	"errors"
	"fmt"

	"castar/store"
)

// Put stores a blob in Near. With WriteThrough it stores it in Far first.
func (b *Blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	return lane{b, b.Near, b.Far}.Put(ctx, data)
}

// Create begins a blob in Near, or with WriteThrough in both stores.
func (b *Blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	return lane{b, b.Near, b.Far}.Create(ctx)
}

// inBoth makes a call of far, if through is set, and then of near. So far has everything that near has.
func inBoth[S, V any](near, far S, through bool, call func(S) (V, error)) (V, error) {
	if through {
		if v, err := call(far); err != nil {
			return v, err
		}
	}
	return call(near)
}

// lanes implements store.Laner.
type lanes struct {
	b         *Blobs
	near, far *store.Store
}

// Lane returns blobs that are put by one lane of each store.
func (l lanes) Lane() store.Blobs { return lane{l.b, l.near.Lane(), l.far.Lane()} }

// lane is the blobs of both stores, put by one lane of each.
type lane struct {
	*Blobs
	near, far store.Blobs
}

func (l lane) Put(ctx context.Context, data []byte) (store.Digest, error) {
	return inBoth(l.near, l.far, l.WriteThrough, func(b store.Blobs) (store.Digest, error) { return b.Put(ctx, data) })
}

func (l lane) Create(ctx context.Context) (store.BlobWriter, error) {
	near, err := l.near.Create(ctx)
	if err != nil || !l.WriteThrough {
		return near, err
	}
	far, err := l.far.Create(ctx)
	if err != nil {
		return nil, errors.Join(err, near.Close())
	}
	return &bothWriter{near, far}, nil
}

// bothWriter writes a blob to two stores.
type bothWriter struct{ near, far store.BlobWriter }

func (w *bothWriter) Write(p []byte) (int, error) {
	return inBoth(w.near, w.far, true, func(w store.BlobWriter) (int, error) { return w.Write(p) })
}

func (w *bothWriter) Commit() (store.Digest, error) {
	return inBoth(w.near, w.far, true, store.BlobWriter.Commit)
}

func (w *bothWriter) Close() error { return errors.Join(w.far.Close(), w.near.Close()) }

// groups implements store.Grouper.
type groups struct {
	b         *Blobs
	near, far store.Grouper
}

// Group returns the group in Near. A blob that only Far has is in no group here; reading it by itself brings it to Near.
func (g groups) Group(ctx context.Context, d store.Digest) (store.Group, error) {
	group, err := g.near.Group(ctx, d)
	if !store.IsNotFound(err) {
		return group, err
	}
	has, err := g.b.Far.Has(ctx, d)
	if err == nil && !has {
		err = store.ErrNotFound
	}
	if err == nil {
		err = fmt.Errorf("%s is in no group of the near store: %w", d, store.ErrUnsupported)
	}
	return store.Group{}, err
}

// PutGroup stores blobs in Near. With WriteThrough it stores them in Far first.
func (g groups) PutGroup(ctx context.Context, raw []byte, sizes []int, frame []byte) ([]store.Digest, error) {
	return inBoth(g.near, g.far, g.b.WriteThrough, func(g store.Grouper) ([]store.Digest, error) {
		return g.PutGroup(ctx, raw, sizes, frame)
	})
}

// joins implements store.Joiner.
type joins struct {
	b         *Blobs
	near, far *store.Store
}

// ChunkSize is that of Far if blobs are joined there too, and otherwise that of Near.
func (j joins) ChunkSize() int {
	if j.b.WriteThrough {
		return j.far.Joins.ChunkSize()
	}
	return j.near.Joins.ChunkSize()
}

// Join stores a blob in Near, and with WriteThrough in Far first. Chunks that only Far has are fetched.
func (j joins) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if j.b.WriteThrough {
		if err := j.far.Joins.Join(ctx, d, chunks); err != nil {
			return err
		}
	}
	err := j.near.Joins.Join(ctx, d, chunks)
	if !store.IsNotFound(err) {
		return err
	}
	if err := j.b.fetchChunks(ctx, j.near, chunks); err != nil {
		return err
	}
	return j.near.Joins.Join(ctx, d, chunks)
}

// fetchChunks copies to Near those chunks that only Far has.
func (b *Blobs) fetchChunks(ctx context.Context, near *store.Store, chunks []store.Chunk) error {
	ds := make([]store.Digest, len(chunks))
	for i := range chunks {
		ds[i] = chunks[i].Digest
	}
	has, err := near.HasAll(ctx, ds)
	for i := 0; i < len(chunks) && err == nil; i++ {
		if !has[i] {
			if _, err = b.chunk(ctx, chunks[i]); err != nil {
				err = fmt.Errorf("chunk %w", err)
			}
		}
	}
	return err
}

// takes implements store.Taker.
type takes struct {
	b         *Blobs
	near, far *store.Store
}

// ChunkSize is that of the stores that are written to, or 0 if these cut chunks of different lengths.
func (t takes) ChunkSize() int {
	average := t.near.Takes.ChunkSize()
	if t.b.WriteThrough && t.far.Takes.ChunkSize() != average {
		return 0
	}
	return average
}

// TakeGroup stores a group in Near, and with WriteThrough in Far first. If Far takes it then and Near does not, Near gets
// its members one by one.
func (t takes) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	if !t.b.WriteThrough {
		return t.near.Takes.TakeGroup(ctx, g, raw)
	}
	if taken, err := t.far.Takes.TakeGroup(ctx, g, raw); err != nil || !taken {
		return false, err
	}
	taken, err := t.near.Takes.TakeGroup(ctx, g, raw)
	for i := 0; i < len(g.Members) && err == nil && !taken; i++ {
		n := g.Members[i].Size
		_, err = t.near.Blobs.Put(ctx, raw[:n])
		raw = raw[n:]
	}
	return err == nil, err
}

// TakeList stores a blob in Near, and with WriteThrough in Far first. Chunks that only Far has are fetched before, because
// Near may find out later that it lacks them.
func (t takes) TakeList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if t.b.WriteThrough {
		if err := t.far.Takes.TakeList(ctx, d, chunks); err != nil {
			return err
		}
	}
	if err := t.b.fetchChunks(ctx, t.near, chunks); err != nil {
		return err
	}
	return t.near.Takes.TakeList(ctx, d, chunks)
}
