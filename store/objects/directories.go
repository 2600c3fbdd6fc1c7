package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"castar/store"
)

// directories implements store.Directories.
//
// An upload is stored as a closure, named by its root. Tvix and snix find a directory only if it is the root of a
// closure. This package finds every directory. It remembers what is in each closure that it reads or writes. For the
// others it reads a list, castar/closures/<root>: the digests of all directories of the closure, 32 bytes each, sorted.
// A missing list is made from its closure.
//
// A single directory without child directories is a closure, and is stored as one. A single directory with children
// would be an incomplete closure, and would keep tvix and snix from storing the complete one under that name. It goes to
// castar/dirs/, where they do not look, as a zstd frame of its message.
type directories struct {
	q     *queue
	codec *codec
	ahead int
	cache closureCache
	mu    sync.RWMutex
	roots []store.Digest          // of known closures
	home  map[store.Digest]uint32 // for each directory in a known closure, the index of its root in roots

	damaged sync.Map // the roots of closures found damaged: a Put stores them again

	scanning sync.Mutex
	scanned  time.Time             // when the closures were last listed
	listed   map[store.Digest]bool // roots of closures that are known or cannot be read
}

// rescanAfter is how long a listing counts as proof that no closure has a directory.
const rescanAfter = 10 * time.Second

// learn remembers that the closure of root holds the directories in list.
func (ds *directories) learn(root store.Digest, list iter.Seq[store.Digest]) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	number := uint32(len(ds.roots))
	for d := range list {
		if _, ok := ds.home[d]; ok {
			continue
		}
		if len(ds.roots) == int(number) {
			ds.roots = append(ds.roots, root)
		}
		ds.home[d] = number
	}
}

// find returns the root of a known closure that has the directory d.
func (ds *directories) find(d store.Digest) (root store.Digest, ok bool) {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	number, ok := ds.home[d]
	if ok {
		root = ds.roots[number]
	}
	return root, ok
}

// Get looks in the closure known to have the directory, in the directory's own closure, for the single directory, and then
// in the lists of all closures, if the Bucket can list. If the known closure is damaged, the directory's own may be whole.
func (ds *directories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	root, known := ds.find(d)
	if !known {
		root = d
	}
	dir, err := ds.within(ctx, root, d)
	if store.IsCorrupt(err) && root != d {
		if dir, oerr := ds.within(ctx, d, d); oerr == nil {
			return dir, nil
		}
	}
	if store.IsNotFound(err) {
		dir, err = ds.alone(ctx, d)
	}
	if store.IsNotFound(err) {
		if serr := ds.scan(ctx); serr != nil && !errors.Is(serr, store.ErrUnsupported) {
			return nil, serr
		}
		if other, ok := ds.find(d); ok && other != root {
			dir, err = ds.within(ctx, other, d)
		}
	}
	if store.IsNotFound(err) {
		return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
	}
	return dir, err
}

// within returns a directory of the closure of root. The error is store.ErrNotFound if the closure does not exist or does
// not have the directory.
func (ds *directories) within(ctx context.Context, root, d store.Digest) (store.Directory, error) {
	c, err := ds.cache.get(root, func() (*closure, error) { return ds.load(ctx, root) })
	if err != nil {
		return nil, err
	}
	s, ok := c.at[d]
	if !ok {
		return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
	}
	return store.DecodeDirectory(c.messages[s.start:s.end])
}

func (ds *directories) load(ctx context.Context, root store.Digest) (*closure, error) {
	c := &closure{at: map[store.Digest]span{}}
	for f, err := range ds.read(ctx, root, new([]store.Digest)) {
		if err != nil {
			return nil, err
		}
		if len(c.messages)+len(f.message) > maxCached {
			return nil, fmt.Errorf("closure %s: more than %d bytes: too large to find a directory in", root, maxCached)
		}
		start := len(c.messages)
		c.messages = append(c.messages, f.message...)
		c.at[f.Digest] = span{start, len(c.messages)}
	}
	ds.learn(root, maps.Keys(c.at))
	return c, nil
}

// read yields the directories of the closure of root. The error is store.ErrNotFound if there is none, and a
// *store.CorruptError if it is damaged.
func (ds *directories) read(ctx context.Context, root store.Digest, missing *[]store.Digest) iter.Seq2[frame, error] {
	return func(yield func(frame, error) bool) {
		name := dirName(root)
		r, raw, err := ds.open(ctx, name)
		if err != nil {
			yield(frame{}, err)
			return
		}
		defer raw.Close()
		for f, err := range frames(raw, root, missing) {
			switch {
			case err == nil:
			case r.err != nil: // the Bucket failed; the closure may be whole
				err = r.err
			default:
				ds.damaged.Store(root, true)
				err = &store.CorruptError{Digest: root, Where: ds.q.where(name), Err: fmt.Errorf("closure: %w", err)}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// open returns a reader of an object and, on it, one of what the object decodes to, which the caller closes.
func (ds *directories) open(ctx context.Context, name string) (*reader, io.ReadCloser, error) {
	r, err := ds.q.newReader(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	raw, err := ds.codec.exact.Stream(r)
	return r, raw, err
}

// alone returns a directory that was stored without its children.
func (ds *directories) alone(ctx context.Context, d store.Digest) (store.Directory, error) {
	name := ownDirName(d)
	r, raw, err := ds.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	message, err := io.ReadAll(io.LimitReader(raw, maxFrame+1))
	if r.err != nil {
		return nil, r.err
	}
	if err == nil && store.Sum(message) != d {
		err = store.ErrDigestMismatch
	}
	var dir store.Directory
	if err == nil {
		dir, err = store.DecodeDirectory(message)
	}
	if err != nil {
		return nil, &store.CorruptError{Digest: d, Where: ds.q.where(name), Err: err}
	}
	return dir, nil
}

func (ds *directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := errors.Join(ctx.Err(), ds.q.writable()); err != nil {
		return store.Digest{}, err
	}
	d, m, err := newMember(dir)
	if err != nil {
		return d, err
	}
	if len(m.children) > 0 {
		body, err := ds.codec.compress(m.message)
		if err != nil {
			return d, err
		}
		return d, ds.q.putAfter(ctx, ownDirName(d), body)
	}
	return d, ds.store(ctx, d, map[store.Digest]member{d: m})
}

// store stores the closure of root, unless it exists, and the list of its directories.
func (ds *directories) store(ctx context.Context, root store.Digest, members map[store.Digest]member) error {
	list, err := order(root, members)
	if err != nil {
		return err
	}
	has := false
	if _, damaged := ds.damaged.Load(root); len(list) > 1 && !damaged { // storing one directory costs no more than asking for it
		if has, err = ds.q.has(ctx, dirName(root)); err != nil {
			return err
		}
	}
	if !has {
		messages := make([][]byte, len(list))
		for i, d := range list {
			messages[i] = members[d].message
		}
		body, err := ds.codec.encode(messages)
		if err != nil {
			return err
		}
		if err := ds.q.putAfter(ctx, dirName(root), body); err != nil {
			return err
		}
		ds.damaged.Delete(root)
	}
	ds.learn(root, slices.Values(list))
	return ds.putMembers(ctx, root, list, has)
}

// Walk yields a closure in its order. It looks elsewhere for directories that the closure lacks.
func (ds *directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		seen := map[store.Digest]struct{}{}
		var missing []store.Digest
		for f, err := range ds.read(ctx, root, &missing) {
			if store.IsNotFound(err) && len(seen) == 0 {
				missing = append(missing, root)
				break
			}
			seen[f.Digest] = struct{}{}
			if !yield(f.NamedDirectory, err) || err != nil {
				return
			}
		}
		slices.SortFunc(missing, func(a, b store.Digest) int { return bytes.Compare(a[:], b[:]) })
		store.WalkRest(ctx, ds, seen, missing...)(yield)
	}
}

// upload implements store.DirectoryWriter. It keeps all messages until Commit, because the root comes last and is stored
// first.
type upload struct {
	ds *directories

	mu      sync.Mutex
	members map[store.Digest]member // nil after Commit and Close
}

// Upload implements store.Directories. The batch keeps its directories in memory until it ends.
func (ds *directories) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	if err := errors.Join(ctx.Err(), ds.q.writable()); err != nil {
		return nil, err
	}
	return &upload{ds: ds, members: map[store.Digest]member{}}, nil
}

var errBatchEnded = errors.New("batch of directories has ended")

func (u *upload) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := errors.Join(ctx.Err(), u.ds.q.writable()); err != nil {
		return store.Digest{}, err
	}
	d, m, err := newMember(dir)
	if err != nil {
		return store.Digest{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.members == nil {
		return store.Digest{}, errBatchEnded
	}
	u.members[d] = m
	return d, nil
}

// Commit stores the closure. The error is store.ErrNotFound if a child was not put.
func (u *upload) Commit(ctx context.Context, root store.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.members == nil {
		return errBatchEnded
	}
	err := u.ds.store(ctx, root, u.members)
	if err == nil {
		u.members = nil
	}
	return err
}

func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.members = nil
	return nil
}
