//go:build linux

package mount

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"castar/store"
	"castar/store/listing"
)

const (
	// keepFacts is how many bytes of listings are kept. The last one is kept whatever its length.
	keepFacts = 32 << 20
	// keepBlocks is how many bytes of what was read of them are kept.
	keepBlocks = 8 << 20
	// mostBad is how many things are reported that make no sense in one listing.
	mostBad = 10
)

// facts says what the listings of a store have of the entries of a mount: modes and times. A nil *facts knows nothing. Its
// methods may be called concurrently.
type facts struct {
	open   func(ctx context.Context, listing store.Digest) (*listing.Folder, int64, error)
	report func(path string, err error)
	roots  *cache[store.Digest, opened]
	blocks *cache[block, *listing.Lines]

	mu  sync.Mutex
	bad map[store.Digest]int // how many were reported
}

// opened is a listing. It has no root if it is lost or damaged, which was reported.
type opened struct {
	root  *listing.Folder
	bytes int64
}

// block is a directory in a listing.
type block struct {
	listing store.Digest
	path    string
}

func newFacts(o *Options) *facts {
	if o.Facts == nil {
		return nil
	}
	const perBlock, perLine = 200, 120 // bytes, roughly
	return &facts{
		open: o.Facts, report: o.Report, bad: map[store.Digest]int{},
		roots:  newCache[store.Digest](keepFacts, func(l opened) int64 { return l.bytes }),
		blocks: newCache[block](keepBlocks, func(l *listing.Lines) int64 { return perBlock + perLine*int64(l.Len()) }),
	}
}

// of returns what is known of p, or nil. The error is one of reading the listing, now: it may be readable later.
func (f *facts) of(ctx context.Context, p *place) (*listing.Entry, error) {
	if f == nil || p.folder() || p.top.listing == (store.Digest{}) {
		return nil, nil
	}
	d := p.top.listing
	l, err := f.roots.get(ctx, d, func() (opened, error) { return f.load(ctx, d) })
	if err != nil || l.root == nil {
		return nil, err
	}
	e, ok, err := f.entry(ctx, l.root, p)
	if err == nil && !ok {
		err = errors.New("the listing does not have it")
	}
	if err == nil {
		err = e.Contradicts(&p.node)
	}
	if err != nil {
		f.reportBad(p, err)
		return nil, ctx.Err()
	}
	return &e, nil
}

// load opens a listing.
func (f *facts) load(ctx context.Context, d store.Digest) (l opened, err error) {
	l.root, l.bytes, err = f.open(ctx, d)
	if store.IsCorrupt(err) || store.IsNotFound(err) {
		f.report(".", fmt.Errorf("listing %s: %w", d, err))
		return opened{}, nil
	}
	return l, err
}

// entry returns what a listing says of p.
func (f *facts) entry(ctx context.Context, root *listing.Folder, p *place) (e listing.Entry, ok bool, err error) {
	report := func(err error) { f.reportBad(p, err) }
	if p.node.Kind == store.KindDirectory || p.number == p.top.number {
		lines, ok := root.At(p.inside).Lines(func(string) bool { return false }, report)
		if ok {
			e = lines.Self
		}
		return e, ok, nil
	}
	lines, err := f.blocks.get(ctx, block{p.top.listing, p.dir}, func() (*listing.Lines, error) {
		lines, ok := root.At(p.dir).Lines(nil, report)
		if !ok {
			lines = new(listing.Lines)
		}
		return lines, nil
	})
	if err != nil {
		return e, false, err
	}
	return lines.Find(p.node.Name)
}

// reportBad reports what makes no sense in a listing.
func (f *facts) reportBad(p *place, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad[p.top.listing]++; f.bad[p.top.listing] <= mostBad {
		f.report(join(p.dir, p.node.Name), err)
	}
}
