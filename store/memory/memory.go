// Package memory is a store in maps. It is the shortest implementation of the contracts in package store; other stores
// are compared with it, and tests use it.
package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"castar/store"
)

// New returns an empty store with Blobs, Directories, Tags and a Lister. It keeps every blob whole, in memory. Sync and
// Close do nothing, and the store may be used after Close. Nothing blocks, so contexts are ignored.
func New() *store.Store {
	s := &state{
		blobs:       map[store.Digest][]byte{},
		directories: map[store.Digest]store.Directory{},
		tags:        map[string]store.Tag{},
	}
	return &store.Store{
		ID:          "memory-" + rand.Text(),
		Blobs:       blobs{s},
		Directories: directories{s},
		Tags:        tags{s},
		Lister:      lister{s},
		Barrier:     barrier{},
	}
}

// state is shared by the parts of a store. Values in the maps are never changed, only replaced.
type state struct {
	mu          sync.RWMutex
	blobs       map[store.Digest][]byte
	directories map[store.Digest]store.Directory
	tags        map[string]store.Tag
	log         []store.Tag
}

// get returns a value of one of the maps, or an error that names the key by format.
func get[K comparable, V any](s *state, from map[K]V, format string, key K) (V, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := from[key]
	if !ok {
		return v, fmt.Errorf(format+": %w", key, store.ErrNotFound)
	}
	return v, nil
}

type barrier struct{}

func (barrier) Sync(context.Context) error { return nil }
func (barrier) Close() error               { return nil }

type blobs struct{ s *state }

func (b blobs) get(d store.Digest) ([]byte, error) { return get(b.s, b.s.blobs, "blob %s", d) }

// put keeps data. The caller must not change it afterwards.
func (b blobs) put(data []byte) store.Digest {
	d := store.Sum(data)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.blobs[d] = data
	return d
}

func (b blobs) Has(_ context.Context, d store.Digest) (bool, error) {
	_, err := b.get(d)
	return err == nil, nil
}

func (b blobs) Open(_ context.Context, d store.Digest) (store.Blob, error) {
	data, err := b.get(d)
	if err != nil {
		return nil, err
	}
	return store.BytesBlob(data), nil // its digest was computed from these bytes
}

func (b blobs) Chunks(_ context.Context, d store.Digest) ([]store.Chunk, error) {
	_, err := b.get(d)
	return nil, err
}

func (b blobs) Put(_ context.Context, data []byte) (store.Digest, error) {
	return b.put(slices.Clone(data)), nil
}

func (b blobs) Create(context.Context) (store.BlobWriter, error) { return &writer{blobs: b}, nil }

// errEnded is the error of a writer that is used after Commit or Close.
var errEnded = errors.New("blob has ended")

type writer struct {
	blobs     blobs
	buf       bytes.Buffer
	digest    store.Digest
	committed bool
	closed    bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.committed || w.closed {
		return 0, errEnded
	}
	return w.buf.Write(p)
}

func (w *writer) Commit() (store.Digest, error) {
	switch {
	case w.committed:
	case w.closed:
		return store.Digest{}, errEnded
	default:
		w.digest = w.blobs.put(w.buf.Bytes())
		w.committed = true
	}
	return w.digest, nil
}

func (w *writer) Close() error {
	w.closed = true
	return nil
}

type directories struct{ s *state }

func (ds directories) Get(_ context.Context, d store.Digest) (store.Directory, error) {
	dir, err := get(ds.s, ds.s.directories, "directory %s", d)
	return slices.Clone(dir), err
}

func (ds directories) Put(_ context.Context, dir store.Directory) (store.Digest, error) {
	message, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(message)
	ds.s.mu.Lock()
	defer ds.s.mu.Unlock()
	ds.s.directories[d] = slices.Clone(dir)
	return d, nil
}

func (ds directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, ds, root)
}

func (ds directories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), nil
}

type tags struct{ s *state }

func (ts tags) Get(_ context.Context, name string) (store.Tag, error) {
	return get(ts.s, ts.s.tags, "tag %q", name)
}

func (ts tags) Set(_ context.Context, t store.Tag) error {
	if err := store.ValidateTag(t.Name); err != nil {
		return err
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("tag %q: %w", t.Name, err)
	}
	ts.s.mu.Lock()
	defer ts.s.mu.Unlock()
	ts.s.tags[t.Name] = t
	return nil
}

func (ts tags) Delete(_ context.Context, name string) error {
	ts.s.mu.Lock()
	defer ts.s.mu.Unlock()
	if _, ok := ts.s.tags[name]; !ok {
		return fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	}
	delete(ts.s.tags, name)
	return nil
}

// All yields the tags as they were when the loop began. The loop may change tags.
func (ts tags) All(context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		ts.s.mu.RLock()
		all := slices.SortedFunc(maps.Values(ts.s.tags), func(a, b store.Tag) int { return strings.Compare(a.Name, b.Name) })
		ts.s.mu.RUnlock()
		yieldAll(all, yield)
	}
}

func (ts tags) Record(_ context.Context, t store.Tag) error {
	if err := t.Validate(); err != nil {
		return err
	}
	ts.s.mu.Lock()
	defer ts.s.mu.Unlock()
	ts.s.log = append(ts.s.log, t)
	return nil
}

// Forget replaces the log, so that a loop over the old one goes on.
func (ts tags) Forget(_ context.Context, ingests []store.Tag) error {
	ts.s.mu.Lock()
	defer ts.s.mu.Unlock()
	gone := store.AmongTags(ingests)
	ts.s.log = slices.DeleteFunc(slices.Clone(ts.s.log), gone)
	return nil
}

// Log yields the log as it was when the loop began. The loop may add to it.
func (ts tags) Log(context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		ts.s.mu.RLock()
		log := ts.s.log
		ts.s.mu.RUnlock()
		yieldAll(log, yield)
	}
}

type lister struct{ s *state }

// List yields the objects that were there when the loop began. The loop may store more.
func (l lister) List(_ context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	return func(yield func(store.Digest, error) bool) {
		want := prefix.String()[:min(max(nibbles, 0), 2*store.DigestSize)]
		l.s.mu.RLock()
		all := slices.AppendSeq(slices.Collect(maps.Keys(l.s.blobs)), maps.Keys(l.s.directories))
		l.s.mu.RUnlock()
		yieldAll(slices.DeleteFunc(all, func(d store.Digest) bool { return !strings.HasPrefix(d.String(), want) }), yield)
	}
}

func yieldAll[T any](list []T, yield func(T, error) bool) {
	for _, v := range list {
		if !yield(v, nil) {
			return
		}
	}
}
