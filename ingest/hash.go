package ingest

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"castar/store"
)

// Hash returns the root that FS would store, and its directories, and stores nothing. It keeps the directories in memory,
// encoded: each entry takes about 45 bytes and its name. Hash believes o.Cache.
func Hash(ctx context.Context, path string, o Options) (Result, store.Directories, error) {
	kept := &keptDirectories{messages: map[store.Digest][]byte{}}
	st := discard()
	st.Directories = kept
	r, err := FS(ctx, st, path, o)
	return r, kept, err
}

// keptDirectories keeps directories in memory, encoded.
type keptDirectories struct {
	mu       sync.Mutex
	messages map[store.Digest][]byte
}

func (ds *keptDirectories) Get(_ context.Context, d store.Digest) (store.Directory, error) {
	ds.mu.Lock()
	message, ok := ds.messages[d]
	ds.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
	}
	return store.DecodeDirectory(message)
}

func (ds *keptDirectories) Put(_ context.Context, dir store.Directory) (store.Digest, error) {
	message, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(message)
	ds.mu.Lock()
	ds.messages[d] = message
	ds.mu.Unlock()
	return d, nil
}

func (ds *keptDirectories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, ds, root)
}

func (ds *keptDirectories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), nil
}
