package ingest

import (
	"cmp"
	"slices"
	"sync"
)

// collected is a list to which the goroutines of a walk add. Its methods may be called concurrently.
type collected[T any] struct {
	mu  sync.Mutex
	all []T
}

func (c *collected[T]) add(v T) {
	c.mu.Lock()
	c.all = append(c.all, v)
	c.mu.Unlock()
}

// sorted returns the list after the walk. It may be long and is not copied: do not change it.
func (c *collected[T]) sorted(by func(a, b T) int) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.all, by)
	return slices.Clip(c.all)
}

// problems is the entries that could not be stored.
type problems struct{ collected[Problem] }

// sorted returns all problems, sorted by path, after the walk.
func (p *problems) sorted() []Problem {
	return p.collected.sorted(func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
}

// refused returns an error with the problems that o does not leave out, or nil if there are none.
func (p *problems) refused(o Options) error {
	refused := p.sorted()
	if o.SkipSpecial {
		refused = slices.DeleteFunc(slices.Clone(refused), func(q Problem) bool { return q.Special })
	}
	if o.IgnoreErrors || len(refused) == 0 {
		return nil
	}
	return &LeftOutError{refused}
}
