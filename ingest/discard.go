package ingest

import (
	"context"
	"errors"
	"iter"

	"castar/store"
)

// discard returns a store for dry runs. It computes digests and keeps nothing.
func discard() *store.Store {
	return &store.Store{Blobs: discardBlobs{}, Directories: discardDirectories{}, Barrier: discardBarrier{}}
}

type discardBlobs struct{}

// Has returns true. Only a lookup in the cache asks, and a dry run believes the cache.
func (discardBlobs) Has(context.Context, store.Digest) (bool, error) { return true, nil }

func (discardBlobs) Open(context.Context, store.Digest) (store.Blob, error) {
	return nil, store.ErrUnsupported
}

func (discardBlobs) Chunks(context.Context, store.Digest) ([]store.Chunk, error) {
	return nil, store.ErrUnsupported
}

func (discardBlobs) Put(_ context.Context, data []byte) (store.Digest, error) {
	return store.Sum(data), nil
}

func (discardBlobs) Create(context.Context) (store.BlobWriter, error) { return new(discardWriter), nil }

type discardWriter struct {
	store.Hasher
	closed bool
}

func (w *discardWriter) Commit() (store.Digest, error) {
	if w.closed {
		return store.Digest{}, errors.New("commit of a blob that was discarded")
	}
	return w.Sum(), nil
}

func (w *discardWriter) Close() error {
	w.closed = true
	return nil
}

type discardDirectories struct{}

func (discardDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, store.ErrUnsupported
}

func (discardDirectories) Put(_ context.Context, dir store.Directory) (store.Digest, error) {
	b, err := store.EncodeDirectory(dir)
	return store.Sum(b), err
}

func (ds discardDirectories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, ds, root)
}

func (ds discardDirectories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), nil
}

type discardBarrier struct{}

func (discardBarrier) Sync(context.Context) error { return nil }
func (discardBarrier) Close() error               { return nil }
