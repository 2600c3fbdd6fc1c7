package ingest

import (
	"slices"
	"strings"
)

// place is where an entry is: a list from the entry up to the root, from which its path is made only when it is needed.
type place struct {
	parent *place
	name   string
}

// path returns the path as people know it: what they typed, and the way down from there.
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

// inside returns the path relative to the root, without it.
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
