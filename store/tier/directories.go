package tier

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"castar/store"
)

// Directories is the directories of two stores. When a directory of Far is read, it is kept in Near with all the
// directories below it. Directories implements store.Directories, and treats errors as Blobs does.
type Directories struct {
	Near, Far store.Directories
	// WriteThrough makes writes go to Far as well as to Near. Otherwise they go to Near alone.
	WriteThrough bool

	fetching sharedCalls[store.Directory]
}

// Get returns the directory of Near, or fetches it from Far with all directories below it.
func (ds *Directories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	dir, err := ds.Near.Get(ctx, d)
	if !store.IsNotFound(err) {
		return dir, err
	}
	dir, err = ds.fetching.do(ctx, d, func(ctx context.Context) (store.Directory, error) { return ds.fetch(ctx, d) })
	return append(store.Directory(nil), dir...), err // other waiters have the same slice
}

// fetch stores the closure of root in Near and returns the directory root. A closure that is incomplete in Far is not
// stored.
func (ds *Directories) fetch(ctx context.Context, root store.Digest) (store.Directory, error) {
	dir, err := ds.Near.Get(ctx, root) // stored since Get looked
	if !store.IsNotFound(err) {
		return dir, err
	}
	closure := map[store.Digest][]byte{} // encoded: a fraction of the size of a Directory
	for named, err := range ds.Far.Walk(ctx, root) {
		if store.IsNotFound(err) && dir != nil {
			return dir, nil
		}
		if err != nil {
			return nil, err
		}
		message, err := store.EncodeDirectory(named.Directory)
		if err == nil && store.Sum(message) != named.Digest {
			err = store.ErrDigestMismatch
		}
		if err != nil {
			return nil, &store.CorruptError{Digest: named.Digest, Err: err}
		}
		closure[named.Digest] = message
		if named.Digest == root {
			dir = append(store.Directory{}, named.Directory...) // not nil
		}
	}
	if err := ds.keep(ctx, root, closure); err != nil && !errors.Is(err, store.ErrReadOnly) {
		return nil, err
	}
	return dir, nil
}

// keep stores a closure in Near, children first.
func (ds *Directories) keep(ctx context.Context, root store.Digest, closure map[store.Digest][]byte) error {
	w, err := ds.Near.Upload(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	// A directory stays on the stack until its children are stored. What is stored leaves the closure.
	stack, stored := []store.Digest{root}, map[store.Digest]bool{}
	for len(stack) > 0 {
		top := len(stack) - 1
		d := stack[top]
		if stored[d] {
			stack = stack[:top]
			continue
		}
		message, ok := closure[d]
		if !ok {
			return &store.CorruptError{Digest: root, Err: fmt.Errorf("directory %s is missing below it", d)}
		}
		dir, err := store.DecodeDirectory(message)
		if err != nil {
			return err
		}
		for i := range dir {
			if dir[i].Kind == store.KindDirectory && !stored[dir[i].Digest] {
				stack = append(stack, dir[i].Digest)
			}
		}
		if len(stack) > top+1 {
			continue
		}
		if _, err := w.Put(ctx, dir); err != nil {
			return err
		}
		stored[d] = true
		delete(closure, d)
	}
	return w.Commit(ctx, root)
}

// Put stores a directory in Near. With WriteThrough it stores it in Far first.
func (ds *Directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	return inBoth(ds.Near, ds.Far, ds.WriteThrough, func(ds store.Directories) (store.Digest, error) {
		return ds.Put(ctx, dir)
	})
}

// Walk walks Near. From the first directory that Near lacks, it walks both stores.
func (ds *Directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return walkFirst(ctx, ds.Near, ds, root)
}

// walkFirst walks first until it lacks a directory, and then walks the rest in all.
func walkFirst(ctx context.Context, first, all store.Directories, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		seen := map[store.Digest]struct{}{}
		complete := true
		for named, err := range first.Walk(ctx, root) {
			if store.IsNotFound(err) {
				complete = false
				break
			}
			if !yield(named, err) || err != nil {
				return
			}
			seen[named.Digest] = struct{}{}
		}
		if complete {
			return
		}
		for named, err := range store.WalkByGet(ctx, all, root) {
			if _, ok := seen[named.Digest]; ok && err == nil {
				continue
			}
			if !yield(named, err) {
				return
			}
		}
	}
}

// Upload begins a batch in Near, or with WriteThrough in both stores.
func (ds *Directories) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	near, err := ds.Near.Upload(ctx)
	if err != nil || !ds.WriteThrough {
		return near, err
	}
	far, err := ds.Far.Upload(ctx)
	if err != nil {
		return nil, errors.Join(err, near.Close())
	}
	return &bothUpload{near, far}, nil
}

// bothUpload stores a closure in two stores.
type bothUpload struct{ near, far store.DirectoryWriter }

func (w *bothUpload) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	return inBoth(w.near, w.far, true, func(w store.DirectoryWriter) (store.Digest, error) { return w.Put(ctx, dir) })
}

// Commit commits in Far before Near, so that Far has everything that Near has.
func (w *bothUpload) Commit(ctx context.Context, root store.Digest) error {
	if err := w.far.Commit(ctx, root); err != nil {
		return err
	}
	return w.near.Commit(ctx, root)
}

func (w *bothUpload) Close() error { return errors.Join(w.far.Close(), w.near.Close()) }

// Priority is the directories of several stores. A directory comes from the first store that has it. An error other than
// store.ErrNotFound ends the search. Priority implements store.Directories, but Put and Upload return store.ErrReadOnly.
type Priority []store.Directories

// Get asks the stores one after another.
func (p Priority) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	for _, ds := range p {
		if dir, err := ds.Get(ctx, d); !store.IsNotFound(err) {
			return dir, err
		}
	}
	return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
}

// Walk walks the first store that has root. From the first directory that it lacks, it walks all stores.
func (p Priority) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	for _, ds := range p {
		if _, err := ds.Get(ctx, root); err == nil {
			return walkFirst(ctx, ds, p, root)
		} else if !store.IsNotFound(err) {
			break // WalkByGet meets the same error
		}
	}
	return store.WalkByGet(ctx, p, root)
}

// Put returns store.ErrReadOnly.
func (Priority) Put(context.Context, store.Directory) (store.Digest, error) {
	return store.Digest{}, store.ErrReadOnly
}

// Upload returns store.ErrReadOnly.
func (Priority) Upload(context.Context) (store.DirectoryWriter, error) { return nil, store.ErrReadOnly }
