package config

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"sync"

	"castar/store"
	"castar/store/tier"
)

// access says what a store will be used for.
type access struct {
	write, create bool
	fill          bool // as the near store of a cache; it is synced before it is closed
}

// builder opens each store of an entry once.
type builder struct {
	o      Options
	access map[*node]access
	order  []*node // parts before the store made of them, and stores that are written first before others
	opened map[*node]*opened
}

// opened is a store that is opened once.
type opened struct {
	once sync.Once
	st   *store.Store // nil: it or one of its parts failed
	err  error        // its own, and not that of a part
}

func newBuilder(o Options) *builder {
	return &builder{o: o, access: map[*node]access{}, opened: map[*node]*opened{}}
}

// build opens the stores that e is made of, as many as possible at the same time.
func build(ctx context.Context, e *entry, o Options) (*store.Store, error) {
	if wait := o.OnWait; wait != nil {
		o.OnWait = sync.OnceFunc(wait)
	}
	if o.Exclusive && (e.blobs != e.directories || len(e.blobs.parts) > 0) {
		return nil, fmt.Errorf("%w: only stores that are not made of others can be locked", store.ErrUnsupported)
	}
	b := newBuilder(o)
	whole := access{write: !o.ReadOnly, create: o.Create && !o.ReadOnly}
	for _, n := range []*node{e.blobs, e.directories} {
		b.plan(n, whole)
	}
	var blobs, directories *store.Store
	var wg sync.WaitGroup
	wg.Go(func() { blobs = b.get(ctx, e.blobs) })
	wg.Go(func() { directories = b.get(ctx, e.directories) })
	wg.Wait()
	if err := b.errors(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	st := *blobs
	if blobs != directories {
		st = *tier.Split(blobs, directories)
	}
	st.Barrier = b
	return &st, nil
}

// plan notes what n and its parts will be used for. A store is opened for everything that it is used for.
func (b *builder) plan(n *node, a access) {
	old, known := b.access[n]
	a = access{a.write || old.write, a.create || old.create, a.fill || old.fill}
	if known && a == old {
		return
	}
	b.access[n] = a
	uses := n.kind.uses()
	for i := len(n.parts) - 1; i >= 0; i-- { // far before near
		switch uses[i].need {
		case toRead:
			b.plan(n.parts[i], access{})
		case toWrite:
			b.plan(n.parts[i], access{write: a.write, create: a.create})
		case toFill:
			b.plan(n.parts[i], access{write: true, create: true, fill: true})
		}
	}
	if !known {
		b.order = append(b.order, n)
		b.opened[n] = new(opened)
	}
}

// get returns the store of n, or nil if it cannot be opened. The first caller opens it, and the others wait.
func (b *builder) get(ctx context.Context, n *node) *store.Store {
	w := b.opened[n]
	w.once.Do(func() { w.st, w.err = b.open(ctx, n) })
	return w.st
}

func (b *builder) open(ctx context.Context, n *node) (*store.Store, error) {
	parts := make([]*store.Store, len(n.parts))
	var wg sync.WaitGroup
	for i, part := range n.parts {
		wg.Go(func() { parts[i] = b.get(ctx, part) })
	}
	wg.Wait()
	if slices.Contains(parts, nil) {
		return nil, nil
	}
	o := b.o
	o.ReadOnly, o.Create = !b.access[n].write, b.access[n].create
	st, err := n.openOrMake(ctx, o, parts)
	if rule := n.kind.rule(); rule != nil && st != nil {
		st.SizeRule = *rule
	}
	return st, err
}

// openOrMake opens a store of parts that are open. It makes one in a folder only if the place is right.
func (n *node) openOrMake(ctx context.Context, o Options, parts []*store.Store) (*store.Store, error) {
	if !o.Create || n.kind.folder() == "" {
		return n.kind.open(ctx, o, parts)
	}
	folder, err := filepath.Abs(n.kind.folder())
	if err != nil {
		return nil, err
	}
	making := !hasStore(n.kind, folder)
	if making {
		if err := checkPlace(folder, o); err != nil {
			return nil, err
		}
	}
	st, err := n.kind.open(ctx, o, parts)
	if err == nil {
		remember(folder, o.Memory)
	}
	if err == nil && making && o.OnMade != nil {
		o.OnMade(folder)
	}
	return st, err
}

// errors returns why stores could not be opened, each reason once.
func (b *builder) errors() error {
	var errs []error
	for _, n := range b.order {
		err := b.opened[n].err
		if err != nil && !n.unnamed {
			err = fmt.Errorf("%s: %w", n.name, err)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// leaves yields the stores that are not made of others, and what they are used for.
func (b *builder) leaves() iter.Seq2[*store.Store, access] {
	return func(yield func(*store.Store, access) bool) {
		for _, n := range b.order {
			if st := b.opened[n].st; len(n.parts) == 0 && st != nil && !yield(st, b.access[n]) {
				return
			}
		}
	}
}

// Sync implements store.Barrier.
func (b *builder) Sync(ctx context.Context) error {
	for st := range b.leaves() {
		if err := st.Sync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close implements store.Barrier. It keeps what caches have fetched.
func (b *builder) Close() error {
	var errs []error
	for st, a := range b.leaves() {
		if a.fill {
			errs = append(errs, st.Sync(context.Background()))
		}
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

// hashedID returns the ID of a store that is made of others.
func hashedID(kind, of string) string { return kind + "-" + store.Sum([]byte(of)).String()[:32] }
