package config

import "slices"

// Line is one store in the tree of those that an entry is made of.
type Line struct {
	Depth  int    // 0 is the entry
	Use    string // what the one above has it for: the key there, or blobs or directories; "" for the entry
	Name   string // with its table; "" where a URL stands for it, and for an entry of which the halves stand apart
	Type   string // "" for an entry of which the halves stand apart
	Detail string // a parameter to know it by, such as a path; may be ""
	Shared bool   // it is in more than one place and is built once; what it is made of stands below the first
	Rule   string // documented or snix, where a parameter says by which rule sizes are counted
}

// Entries returns the names that there are for Open: the one given, or where that is "" the entry points of the file, or
// where it has none, all of them.
func (c *Composition) Entries(name string) ([]string, error) {
	if name != "" {
		return []string{name}, nil
	}
	names := c.names()
	points := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(entryPoints(), n) })
	if len(points) > 0 {
		names = points
	}
	if len(names) == 0 {
		_, err := c.entry("")
		return nil, err
	}
	return names, nil
}

// Explain returns what Open with that name would build, the whole before its parts. Nothing is opened.
func (c *Composition) Explain(name string) ([]Line, error) {
	e, err := c.entry(name)
	if err != nil {
		return nil, err
	}
	x := explainer{places: map[*node]int{}, told: map[*node]bool{}}
	x.count(e.blobs)
	if e.blobs == e.directories {
		x.tell(e.blobs, "", 0)
		return x.lines, nil
	}
	x.count(e.directories)
	x.lines = []Line{{}}
	x.tell(e.blobs, "blobs", 1)
	x.tell(e.directories, "directories", 1)
	return x.lines, nil
}

// Unused returns the full names of the instances of which none of the entries are made, in the order of the file.
func (c *Composition) Unused(entries []string) (unused []string, err error) {
	x := explainer{places: map[*node]int{}}
	for _, name := range entries {
		e, err := c.entry(name)
		if err != nil {
			return nil, err
		}
		x.count(e.blobs)
		x.count(e.directories)
	}
	for _, n := range c.order {
		if x.places[n] == 0 {
			unused = append(unused, n.name)
		}
	}
	return unused, nil
}

// explainer writes lines.
type explainer struct {
	places map[*node]int
	told   map[*node]bool
	lines  []Line
}

// count counts the places in which a node stands.
func (x *explainer) count(n *node) {
	if x.places[n]++; x.places[n] == 1 {
		for _, part := range n.parts {
			x.count(part)
		}
	}
}

func (x *explainer) tell(n *node, use string, depth int) {
	l := Line{Depth: depth, Use: use, Name: n.name, Type: n.typ, Detail: n.kind.detail(), Shared: x.places[n] > 1}
	if n.unnamed {
		l.Name = ""
	}
	if rule := n.kind.rule(); rule != nil {
		l.Rule = rule.String()
	}
	x.lines = append(x.lines, l)
	if x.told[n] {
		return
	}
	x.told[n] = true
	uses := n.kind.uses()
	for i, part := range n.parts {
		x.tell(part, uses[i].key, depth+1)
	}
}
