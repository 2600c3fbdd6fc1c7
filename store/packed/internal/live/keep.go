package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"castar/store"
	"castar/store/packed/internal/bucketfs"
)

// acknowledge calls write, which names a root in a tag or in the log. In a bucket, a gc may be at work that has read tags
// and log already. So the root is first pinned in the head, which that gc then cannot replace, and whose pins the next
// keeps. In the end the pin must still be there, or no gc have been at work; else it begins again.
func (st *Store) acknowledge(ctx context.Context, t store.Tag, write func() error) error {
	if st.Bucket == nil || st.Bucket.Head() == nil {
		return write()
	}
	root, err := store.EncodeNode(t.Root)
	if err != nil {
		return err
	}
	p := bucketfs.Pin{Root: root, Listing: t.Listing}
	for written := false; ; {
		if err := st.pin(ctx, t, p); err != nil {
			return err
		}
		if !written {
			if err := write(); err != nil {
				return err
			}
			written = true
		}
		h, err := st.Bucket.Reload()
		if err != nil {
			return err
		}
		if h != nil && (h.Epoch == st.epoch.Load() || h.Keeps(p)) {
			return nil
		}
	}
}

// Keep implements store.Keeper.
func (st *Store) Keep(ctx context.Context, t store.Tag) error {
	record, err := st.Tags().recording(t)
	writes := []func() error{record}
	if err == nil && t.Name != "" {
		var set func() error
		set, err = st.Tags().setting(t)
		writes = append(writes, set)
	}
	if err == nil && st.Bucket.Head() == nil {
		err = st.Sync(ctx)
	}
	if err != nil {
		return err
	}
	return st.acknowledge(ctx, t, func() error {
		errs := make([]error, len(writes))
		var all sync.WaitGroup
		for i, write := range writes {
			all.Go(func() { errs[i] = write() })
		}
		all.Wait()
		return errors.Join(errs...)
	})
}

// Send implements store.Keeper.
func (st *Store) Send(context.Context) error {
	st.commit.Lock()
	defer st.commit.Unlock()
	if err := st.Writable(); err != nil {
		return err
	}
	if err := st.publishPacks(st.nextSession()); err != nil {
		return st.Fail(err)
	}
	return nil
}

// uncommitted reports whether anything was put since the last commit. The caller holds st.commit.
func (st *Store) uncommitted() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !st.current.empty() || slices.ContainsFunc(st.closing, func(s *session) bool { return !s.empty() })
}

// pin puts a pin into the head, after a check that all that it keeps is there. It commits what was put before: with the pin,
// unless the epoch has changed and the check is due.
func (st *Store) pin(ctx context.Context, t store.Tag, p bucketfs.Pin) error {
	st.commit.Lock()
	defer st.commit.Unlock()
	if st.uncommitted() {
		if err := st.commitLocked(&p); err != nil {
			return err
		}
	}
	for {
		if h := st.Bucket.Head(); h.Epoch != st.epoch.Load() || h.Epoch != st.wholeEpoch {
			if err := st.commitLocked(nil); err != nil {
				return err
			}
		}
		if st.moved {
			if err := st.checkClosure(ctx, t); err != nil {
				return err
			}
		}
		now, err := st.Bucket.Now()
		if err != nil {
			return err
		}
		if h := st.Bucket.Head(); h.Keeps(p) && h.Epoch == st.epoch.Load() {
			return nil
		}
		err = st.Bucket.Swap(ctx, func(h *bucketfs.Head) error {
			if h.Epoch != st.epoch.Load() {
				return errMoved
			}
			h.Pin(p, now)
			return nil
		})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// checkClosure returns an error that is store.ErrCollected if the indexes in use lack anything that a tag reaches.
func (st *Store) checkClosure(ctx context.Context, t store.Tag) error {
	set := st.setOf(*st.Indexes.Load())
	var visit func(k store.Kind, d store.Digest) error
	visit = func(k store.Kind, d store.Digest) error {
		added, err := set.Add(k, d)
		if err != nil {
			return fmt.Errorf("%w (%v)", store.ErrCollected, err)
		}
		if !added {
			return nil
		}
		if k == store.KindDirectory {
			dir, err := st.Directories().Get(ctx, d)
			if err != nil {
				return err
			}
			for _, n := range dir {
				if n.Kind != store.KindSymlink {
					if err := visit(n.Kind, n.Digest); err != nil {
						return err
					}
				}
			}
			return nil
		}
		chunks, err := st.Blobs().Chunks(ctx, d)
		for _, c := range chunks {
			if err := visit(store.KindFile, c.Digest); err != nil {
				return err
			}
		}
		return err
	}
	if t.Listing != (store.Digest{}) {
		if err := visit(store.KindFile, t.Listing); err != nil {
			return err
		}
	}
	if t.Root.Kind == store.KindSymlink {
		return nil
	}
	return visit(t.Root.Kind, t.Root.Digest)
}
