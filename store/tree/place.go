package tree

import (
	"fmt"
	"strings"

	"castar/store"
)

// place is where a node stands: a chain that leads up to the root, so that a walk holds no path for each of its levels.
// It does not change.
type place struct {
	up    *place // nil for the root
	name  string
	depth int // 1 for the root
}

// rootPlace returns the place of a root.
func rootPlace() *place { return &place{depth: 1} }

// placeOf returns the place at a path of a tree.
func placeOf(path string) *place {
	at := rootPlace()
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			at = at.child(name)
		}
	}
	return at
}

// child returns the place of an entry of the directory at p.
func (p *place) child(name string) *place { return &place{p, name, p.depth + 1} }

// path returns the path from the root, or "" for the root itself.
func (p *place) path() string {
	length := -1
	for at := p; at.up != nil; at = at.up {
		length += 1 + len(at.name)
	}
	if length <= 0 {
		return ""
	}
	var short [256]byte
	b := short[:]
	if length > len(b) {
		b = make([]byte, length)
	}
	b = b[:length]
	for at, end := p, length; at.up != nil; at = at.up {
		end -= copy(b[end-len(at.name):], at.name)
		if end > 0 {
			end--
			b[end] = '/'
		}
	}
	return string(b)
}

// String returns the path as errors say it: "." for the root, and shortened where it is very long.
func (p *place) String() string {
	if p.up == nil {
		return "."
	}
	return store.ShortPath(p.path())
}

// in returns the path as errors about several roots say it.
func (p *place) in(root string) string {
	if p.up == nil {
		return root
	}
	return root + ":" + p.String()
}

// wrap says where an error was met.
func (p *place) wrap(err error) error { return fmt.Errorf("%s: %w", p, err) }
