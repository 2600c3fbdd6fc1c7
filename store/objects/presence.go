package objects

import (
	"context"
	"encoding/binary"
	"math"
	"sync"

	"castar/store"
)

// presence remembers which objects below a prefix exist, so that it asks only once: objects are only ever added to a
// store. If one page of a listing costs no more than one question, presence lists the prefix as soon as it has asked as
// many questions as the listing has pages. So it never costs more than twice the cheaper way. The first page tells how
// many pages there are, because digests are spread evenly.
type presence struct {
	q      *queue
	prefix string
	name   func(store.Digest) string
	page   int // names in one page of a listing; 0: never list

	mu       sync.RWMutex
	known    map[store.Digest]bool // the objects that exist; false: damaged
	complete bool                  // known has all objects that existed at the listing
	asked    int                   // number of questions to the Bucket
	listAt   int                   // list when asked reaches this
	last     string                // the last name listed

	listing sync.Mutex
}

const (
	// firstListing is the number of questions before the first page is listed.
	firstListing = 32
	// mostKnown bounds the names in known, and so the memory to about 200 MB.
	mostKnown = 4 << 20
)

func newPresence(q *queue, prefix string, name func(store.Digest) string, page int) *presence {
	return &presence{q: q, prefix: prefix, name: name, page: page, listAt: firstListing, known: map[store.Digest]bool{}}
}

// recall reports, without a question, whether the object exists whole and whether that is certain. If fresh is set, it is
// also certain that an object does not exist if the listing lacked it.
func (p *presence) recall(d store.Digest, fresh bool) (there, certain bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	there, certain = p.known[d]
	return there, certain || fresh && p.complete
}

// has reports whether the object exists and is not known to be damaged.
func (p *presence) has(ctx context.Context, d store.Digest) (bool, error) {
	return p.ask(ctx, d, false)
}

// had is has for a caller that would store the object. It may report false although another program has stored the object
// since the listing. Storing it again does no harm.
func (p *presence) had(ctx context.Context, d store.Digest) (bool, error) { return p.ask(ctx, d, true) }

func (p *presence) ask(ctx context.Context, d store.Digest, fresh bool) (bool, error) {
	if there, certain := p.recall(d, fresh); certain {
		return there, nil
	}
	if err := p.maybeList(ctx); err != nil {
		return false, err
	}
	if there, certain := p.recall(d, fresh); certain {
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

// remember records that the object exists. It may be damaged.
func (p *presence) remember(d store.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.known[d]; !ok && len(p.known) < mostKnown {
		p.known[d] = true
	}
}

// stored records that the object was put, in place of one that may have been damaged.
func (p *presence) stored(d store.Digest) {
	p.mu.Lock()
	delete(p.known, d)
	p.mu.Unlock()
	p.remember(d)
}

// damage records that the object exists but is damaged.
func (p *presence) damage(d store.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[d] = false
}

// maybeList lists if enough questions were asked. Concurrent callers wait, because the listing may answer them.
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
				p.mu.Lock()
				defer p.mu.Unlock()
				p.listAt, p.last = left, last // the next listing goes on from here
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

// pagesLeft estimates how many pages follow d, the last name on the given page of this listing.
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
