package ingest

import (
	"context"

	"castar/store"
)

// Hash returns the root that FS would store, and its directories, and stores nothing. It keeps the directories in memory,
// encoded: each entry takes about 45 bytes and its name. Hash believes o.Cache.
func Hash(ctx context.Context, path string, o Options) (Result, store.Directories, error) {
	kept, st := new(store.Overlay), discard()
	st.Directories = kept
	r, err := FS(ctx, st, path, o)
	return r, kept, err
}

// discard returns a store for dry runs. It computes digests and keeps nothing.
func discard() *store.Store {
	return &store.Store{Blobs: discardBlobs{}, Directories: &discardDirectories{}, Barrier: discardBarrier{}}
}

// discardBlobs has no methods to read blobs, because an ingest reads none.
type discardBlobs struct{ store.Blobs }

// Has returns true. Only a lookup in the cache asks, and a dry run believes the cache.
func (discardBlobs) Has(context.Context, store.Digest) (bool, error) { return true, nil }

func (discardBlobs) Put(_ context.Context, data []byte) (store.Digest, error) {
	return store.Sum(data), nil
}

func (discardBlobs) Create(context.Context) (store.BlobWriter, error) { return new(discardWriter), nil }

type discardWriter struct{ store.Hasher }

func (w *discardWriter) Commit() (store.Digest, error) { return w.Sum(), nil }
func (w *discardWriter) Close() error                  { return nil }

// discardDirectories keeps nothing.
type discardDirectories struct{ store.Overlay }

func (ds *discardDirectories) Put(_ context.Context, dir store.Directory) (store.Digest, error) {
	message, err := store.EncodeDirectory(dir)
	return store.Sum(message), err
}

func (ds *discardDirectories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), nil
}

type discardBarrier struct{}

func (discardBarrier) Sync(context.Context) error { return nil }
func (discardBarrier) Close() error               { return nil }
