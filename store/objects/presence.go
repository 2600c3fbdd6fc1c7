package objects

import (
	"context"
	"encoding/binary"
	"math"
	"sync"

	"castar/store"
)

// presence remembers which objects below a prefix there are, so that it need not be asked again: objects of a store are
// only ever added. Where a listing tells of many for the price of one question, presence lists them once it has asked
// about as many questions as the listing would have cost, so that it never costs more than twice the better way.
// How many there are follows from the first page, for digests are spread evenly.
type presence struct {
	q      *queue
	prefix string
	name   func(store.Digest) string
	page   int // names that one call of List gets; 0: never list

	mu       sync.RWMutex
	known    map[store.Digest]struct{}
	damaged  map[store.Digest]struct{} // there, but of no use
	complete bool                      // all that there were when they were listed are known
	asked    int                       // questions to the Bucket
	listAt   int                       // list when asked is that
	last     string                    // the name up to which they were listed

	listing sync.Mutex
}

const (
	// firstListing is how many questions are asked before the first page is listed.
	firstListing = 32
	// mostKnown bounds what is remembered, to about 200 MB.
	mostKnown = 4 << 20
)

func newPresence(q *queue, prefix string, name func(store.Digest) string, page int) *presence {
	return &presence{
		q: q, prefix: prefix, name: name, page: page, listAt: firstListing,
		known: map[store.Digest]struct{}{}, damaged: map[store.Digest]struct{}{},
	}
}

// recall returns what is known without a question: whether the object is there, and whether that is certain.
func (p *presence) recall(d store.Digest) (there, certain bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if _, ok := p.damaged[d]; ok {
		return false, true
	}
	_, ok := p.known[d]
	return ok, ok
}

// has reports whether the object is there and not known to be damaged.
func (p *presence) has(ctx context.Context, d store.Digest) (bool, error) {
	if there, certain := p.recall(d); certain {
		return there, nil
	}
	if err := p.maybeList(ctx); err != nil {
		return false, err
	}
	if there, certain := p.recall(d); certain {
		return there, nil
	}
	there, err := p.q.has(ctx, p.name(d))
	p.mu.Lock()
	p.asked++
	p.mu.Unlock()
	if there {
		p.remember(d)
	}
	return there, err
}

// had is has for those who would store the object: it may say no where somebody else stored it since they were listed,
// so that it is stored again, which does no harm.
func (p *presence) had(ctx context.Context, d store.Digest) (bool, error) {
	if there, certain := p.recall(d); certain {
		return there, nil
	}
	if err := p.maybeList(ctx); err != nil {
		return false, err
	}
	p.mu.RLock()
	complete := p.complete
	p.mu.RUnlock()
	if complete {
		there, _ := p.recall(d)
		return there, nil
	}
	return p.has(ctx, d)
}

// remember says that the object is there.
func (p *presence) remember(d store.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) < mostKnown {
		p.known[d] = struct{}{}
	}
}

// stored says that the object is on its way, in place of one that may have been damaged.
func (p *presence) stored(d store.Digest) {
	p.remember(d)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.damaged, d)
}

// damage says that the object is there and of no use.
func (p *presence) damage(d store.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.damaged[d] = struct{}{}
}

// maybeList lists if enough was asked. Those who ask meanwhile wait, for they will be told.
func (p *presence) maybeList(ctx context.Context) error {
	due := func() bool {
		p.mu.RLock()
		defer p.mu.RUnlock()
		return p.page > 0 && !p.complete && p.asked >= p.listAt
	}
	if !due() {
		return nil
	}
	p.listing.Lock()
	defer p.listing.Unlock()
	if !due() {
		return nil
	}
	pages, names, last := 1, 0, p.last
	for name, err := range p.q.list(ctx, p.prefix, p.last) {
		if err != nil {
			return err
		}
		d, ok := digestOf(p.prefix, name)
		if !ok {
			continue
		}
		if _, ok := p.q.waiting(name); !ok && name > last {
			last = name
		}
		p.remember(d)
		if names++; names%p.page == 0 {
			if left := p.pagesLeft(d, pages); left > p.asked {
				p.pause(left, last)
				return nil
			}
			pages++
		}
	}
	p.mu.Lock()
	p.complete = len(p.known) < mostKnown
	p.listAt = math.MaxInt
	p.mu.Unlock()
	return nil
}

// pause ends a listing at the name last, to go on where left questions were asked.
func (p *presence) pause(left int, last string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listAt, p.last = left, last
}

// pagesLeft estimates how many pages follow the name of d, at which the page of that number of this listing ended.
func (p *presence) pagesLeft(d store.Digest, pages int) int {
	p.mu.RLock()
	listed := len(p.known)
	p.mu.RUnlock()
	done := (float64(binary.BigEndian.Uint64(d[:8])) + 1) / math.MaxUint64
	total := float64(max(listed, pages*p.page)) / done
	if total > mostKnown {
		return math.MaxInt
	}
	return int(total * (1 - done) / float64(p.page))
}
