package ingest

import (
	"cmp"
	"slices"
	"sync"
)

// problems collects entries that could not be stored. Its methods may be called concurrently.
type problems struct {
	mu  sync.Mutex
	all []Problem
}

func (p *problems) add(q Problem) {
	p.mu.Lock()
	p.all = append(p.all, q)
	p.mu.Unlock()
}

// sorted returns all problems, sorted by path, after the walk. The list may be long and is not copied: do not change it.
func (p *problems) sorted() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.all, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return slices.Clip(p.all)
}

// refused returns an error with the problems that o does not leave out, or nil if there are none.
func (p *problems) refused(o Options) error {
	refused := p.sorted()
	switch {
	case o.IgnoreErrors:
		return nil
	case o.SkipSpecial:
		refused = slices.Collect(func(yield func(Problem) bool) {
			for _, q := range p.all {
				if !q.Special && !yield(q) {
					return
				}
			}
		})
	}
	if len(refused) == 0 {
		return nil
	}
	return &LeftOutError{refused}
}
