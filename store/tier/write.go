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
	near, far store.Grouper // far is nil without WriteThrough
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
	return inBoth(g.near, g.far, g.far != nil, func(g store.Grouper) ([]store.Digest, error) {
		return g.PutGroup(ctx, raw, sizes, frame)
	})
}

// joins implements store.Joiner.
type joins struct {
	b         *Blobs
	near, far store.Joiner // far is nil without WriteThrough
}

// ChunkSize is that of Far if blobs are joined there too, and otherwise that of Near.
func (j joins) ChunkSize() int {
	if j.far != nil {
		return j.far.ChunkSize()
	}
	return j.near.ChunkSize()
}

// Join stores a blob in Near, and with WriteThrough in Far first. Chunks that only Far has are fetched.
func (j joins) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if j.far != nil {
		if err := j.far.Join(ctx, d, chunks); err != nil {
			return err
		}
	}
	err := j.near.Join(ctx, d, chunks)
	if !store.IsNotFound(err) {
		return err
	}
	for _, c := range chunks {
		if _, err := j.b.chunk(ctx, c.Digest, c); err != nil {
			if cause, ok := errors.AsType[*store.CorruptError](err); ok && errors.Is(cause.Err, store.ErrNotFound) {
				err = cause.Err // the chunk was never stored: nothing is damaged
			}
			return err
		}
	}
	return j.near.Join(ctx, d, chunks)
}
