package ingest

import (
	"cmp"
	"slices"
	"sync"
)

// problems collects what could not be stored. Its methods may be called concurrently.
type problems struct {
	mu  sync.Mutex
	all []Problem
}

func (p *problems) add(q Problem) {
	p.mu.Lock()
	p.all = append(p.all, q)
	p.mu.Unlock()
}

// sorted returns all problems, once the walk is over. The list is to be read only, as it may be long and is not copied.
func (p *problems) sorted() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.all, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return slices.Clip(p.all)
}

// refused returns the problems that o does not allow to leave out, as one error.
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
