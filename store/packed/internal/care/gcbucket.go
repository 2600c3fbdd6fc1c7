package care

import (
	"context"
	"errors"
	"iter"
	"maps"
	"path"
	"slices"
	"time"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// In a bucket a sweep runs beside others. Its commit replaces the very head from which it has begun, before it read tags and
// log: whoever has since added an index, or pinned a root to record it, makes it fail. What it gives up is condemned in the
// new head, and deleted by a later sweep, when it has been condemned for the grace period. What no head names, because its
// writer was stopped before the commit, is condemned when it is as old.

// Held implements store.Sweeper.
func (st Store) Held(ctx context.Context, grace time.Duration) iter.Seq2[store.Node, error] {
	return func(yield func(store.Node, error) bool) {
		if st.Bucket == nil {
			return
		}
		now, err := st.Bucket.Now()
		if err != nil {
			yield(store.Node{}, err)
			return
		}
		var pins []bucketfs.Pin
		if h := st.Bucket.Head(); h != nil {
			pins = h.Pins
		}
		for _, p := range pins {
			if !p.Since.After(now.Add(-grace)) {
				continue // the sweep drops it
			}
			n, err := store.DecodeNode(p.Root)
			if !yield(n, err) || p.Listing != (store.Digest{}) && !yield(blob(p.Listing), nil) {
				return
			}
		}
		young, err := st.young(now.Add(-grace))
		if err != nil {
			yield(store.Node{}, err)
			return
		}
		indexes := *st.Indexes.Load()
		for at := range index.Records(indexes) {
			x := indexes[at.Index]
			_, l, ok := x.Record(at.Kind, at.N)
			if !ok || !young[l.Frame.Pack] {
				continue
			}
			n := blob(*x.Digest(at.Kind, at.N))
			if at.Kind == pack.KindDirectory {
				n.Kind = store.KindDirectory
			}
			if !yield(n, ctx.Err()) {
				return
			}
		}
	}
}

func blob(d store.Digest) store.Node { return store.Node{Kind: store.KindFile, Digest: d} }

// young returns the packs that were not stored before limit, by the clock of the service. If the service does not say when,
// that is all.
func (st Store) young(limit time.Time) (map[pack.ID]bool, error) {
	objects, err := st.Bucket.Objects(pack.Dir)
	young := make(map[pack.ID]bool)
	for _, o := range objects {
		if id, ok := pack.ParseName(path.Base(o.Name)); ok && !before(o.Modified, limit) {
			young[id] = true
		}
	}
	return young, err
}

// before reports whether a time that may be unknown is before another.
func before(t, limit time.Time) bool { return !t.IsZero() && t.Before(limit) }

func (s *sweep) shared(ctx context.Context, keep *live.Set) error {
	p, err := s.plan(*s.st.Indexes.Load(), keep)
	if err != nil {
		return err
	}
	p.leaveUnnamed()
	s.choose(p)
	s.result.FreedObjects, s.result.KeptObjects = uint64(p.records-p.kept), uint64(p.kept)
	if s.o.DryRun {
		s.foresee(p)
		return nil
	}
	before := s.st.Bucket.Head() // what this sweep condemns is for the next to delete, whatever the grace period
	if s.needed(p) {
		if err := s.round(ctx, p); err != nil {
			return err
		}
	}
	if err := s.unmark(); err != nil {
		return err
	}
	return s.tidy(ctx, before)
}

// leaveUnnamed takes packs out of a plan that no index names. They may be another process's, which will commit them.
func (p *plan) leaveUnnamed() {
	named := index.NamedPacks(p.indexes)
	maps.DeleteFunc(p.packs, func(id pack.ID, _ *sweptPack) bool { return !named[id] })
}

// swapIn makes an index the only one, and condemns what the plan gives up. The store must be as it was when the indexes of
// the plan were loaded.
func (s *sweep) swapIn(x *index.Index, p *plan) error {
	st := s.st
	var gone []string
	for _, o := range *st.Indexes.Load() {
		gone = append(gone, index.Path(o.Name))
	}
	for _, pk := range p.packs {
		if pk.goes() {
			gone = append(gone, pk.id.Path())
		}
	}
	now, err := st.Bucket.Now()
	if err != nil {
		return err
	}
	err = st.Bucket.Swap(context.Background(), func(h *bucketfs.Head) error {
		if h.Generation != s.generation {
			return store.ErrChanged
		}
		gone = append(gone, unopened(h, *st.Indexes.Load())...)
		h.Condemn(now, gone...)
		h.AddIndex(x.Name)
		h.Pins = slices.DeleteFunc(h.Pins, func(p bucketfs.Pin) bool { return !p.Since.After(now.Add(-s.o.Grace)) })
		h.Epoch++
		return nil
	})
	if err != nil {
		return errors.Join(err, index.Close(x))
	}
	st.UseOnly(x)
	return nil
}

// unopened returns the indexes of a head that are damaged, and so not in use.
func unopened(h *bucketfs.Head, indexes []*index.Index) (files []string) {
	for _, name := range h.Indexes {
		if !index.HasName(indexes, name) {
			files = append(files, index.Path(name))
		}
	}
	return files
}

// tidy deletes what an earlier head has condemned for the grace period, condemns what nobody has named for as long, and
// forgets old pins and uploads.
func (s *sweep) tidy(ctx context.Context, earlier *bucketfs.Head) error {
	st := s.st
	now, err := st.Bucket.Now()
	if err != nil {
		return err
	}
	limit := now.Add(-s.o.Grace)
	begun := st.Bucket.Head()
	if !st.Uses(begun) {
		return store.ErrChanged
	}
	orphans, err := st.orphans(begun, limit)
	if err != nil {
		return err
	}
	deleted, err := st.deleteCondemned(ctx, earlier, limit)
	if err != nil {
		return err
	}
	if err := st.Bucket.AbortUploads(limit); err != nil {
		return err
	}
	old := func(p bucketfs.Pin) bool { return !p.Since.After(limit) }
	if len(orphans)+len(deleted) == 0 && !slices.ContainsFunc(begun.Pins, old) {
		return nil
	}
	return st.Bucket.Swap(ctx, func(h *bucketfs.Head) error {
		h.Condemned = slices.DeleteFunc(h.Condemned, func(c bucketfs.Condemned) bool { return deleted[c.Path] })
		if h.Generation != begun.Generation {
			return nil // another process may just have named one of them
		}
		pins := len(h.Pins)
		h.Pins = slices.DeleteFunc(h.Pins, old)
		h.Condemn(now, orphans...)
		if len(orphans) > 0 || len(h.Pins) < pins {
			h.Epoch++ // whoever relies on them must notice
		}
		return nil
	})
}

// orphans returns the packs and indexes that are older than limit and that a head neither names nor condemns. The indexes of
// that head must be in use.
func (st Store) orphans(h *bucketfs.Head, limit time.Time) (files []string, err error) {
	named := make(map[string]bool)
	for _, name := range h.Indexes {
		named[index.Path(name)] = true
	}
	for id := range index.NamedPacks(*st.Indexes.Load()) {
		named[id.Path()] = true
	}
	for _, dir := range []string{pack.Dir, index.Dir} {
		objects, err := st.Bucket.Objects(dir)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if !named[o.Name] && !h.Condemns(o.Name) && before(o.Modified, limit) && st.ours(o.Name) {
				files = append(files, o.Name)
			}
		}
	}
	return files, nil
}

// ours reports whether a file in the folders of packs and indexes is one of this format.
func (st Store) ours(name string) bool {
	if path.Ext(name) == index.Ext {
		return true
	}
	id, ok := pack.ParseName(path.Base(name))
	return ok && st.Packs.Newer(id) == nil
}

// deleteCondemned deletes what a head has condemned before limit.
func (st Store) deleteCondemned(ctx context.Context, h *bucketfs.Head, limit time.Time) (deleted map[string]bool, err error) {
	deleted = make(map[string]bool)
	var files []string
	for _, c := range h.Condemned {
		if !c.Since.After(limit) {
			deleted[c.Path] = true
			files = append(files, c.Path)
		}
	}
	err = runParallel(ctx, waiters, slices.Values(files), func(file string) error { return st.Bucket.Delete(ctx, file) })
	return deleted, err
}
