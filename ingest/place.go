package ingest

import (
	"slices"
	"strings"
)

// place is the position of an entry in the tree, as a chain that ends at the root. A path is made from it only when it is
// needed.
type place struct {
	parent *place
	name   string
	note   *note // of a directory that was stored, if there is a listing
}

// path returns the path as the user knows it: the path of the root as typed, continued down to the entry.
func (p *place) path() string {
	inside := p.inside()
	for p.parent != nil {
		p = p.parent
	}
	if inside == "" || strings.HasSuffix(p.name, "/") {
		return p.name + inside
	}
	return p.name + "/" + inside
}

// inside returns the path relative to the root, which is "".
func (p *place) inside() string {
	if p.parent == nil {
		return ""
	}
	if p.parent.parent == nil {
		return p.name
	}
	var names []string
	for ; p.parent != nil; p = p.parent {
		names = append(names, p.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}
