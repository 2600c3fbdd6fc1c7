package config

import "slices"

// Line is one store in the tree of stores that an entry is made of.
type Line struct {
	Depth int `json:"depth" help:"0 for the entry itself"`
	// Use is its use to the store above: the key there, or blobs or directories; "" for the entry.
	Use string `json:"use,omitempty" help:"its role, such as near"`
	// Name includes its table. It is "" for a URL, and for an entry whose blobs and directories are different stores.
	Name   string `json:"name,omitempty"`
	Type   string `json:"type,omitempty"`                         // "" for such an entry
	Detail string `json:"detail,omitempty" help:"such as a path"` // a parameter that identifies it; may be ""
	// Shared says that it is in the tree more than once, and is built once; its parts stand below the first line.
	Shared bool   `json:"shared,omitempty"`
	Rule   string `json:"size_rule,omitempty"` // documented or snix, if a parameter sets the rule
}

// Entries returns the given name, or for "" the entry points of the file, or all its names if it has no entry points.
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

// Explain returns what Open would build for a name, each store before its parts. It opens nothing.
func (c *Composition) Explain(name string) (lines []Line, err error) {
	e, err := c.entry(name)
	if err != nil {
		return nil, err
	}
	users := map[*node]int{} // how many nodes have each as a part
	for _, n := range e.nodes() {
		for _, part := range n.parts {
			users[part]++
		}
	}
	told := map[*node]bool{}
	var tell func(n *node, use string, depth int)
	tell = func(n *node, use string, depth int) {
		l := Line{Depth: depth, Use: use, Name: n.name, Type: n.typ, Detail: n.kind.detail(), Shared: users[n] > 1}
		if n.unnamed {
			l.Name = ""
		}
		if rule := n.kind.rule(); rule != nil {
			l.Rule = rule.String()
		}
		lines = append(lines, l)
		if told[n] {
			return
		}
		told[n] = true
		for i, part := range n.parts {
			tell(part, n.kind.uses()[i].key, depth+1)
		}
	}
	if e.blobs == e.directories {
		tell(e.blobs, "", 0)
		return lines, nil
	}
	users[e.blobs]++
	users[e.directories]++
	lines = []Line{{}}
	tell(e.blobs, "blobs", 1)
	tell(e.directories, "directories", 1)
	return lines, nil
}

// Unused returns the full names of the instances that no entry uses, in the order of the file.
func (c *Composition) Unused(entries []string) (unused []string, err error) {
	used := newBuilder(Options{})
	for _, name := range entries {
		e, err := c.entry(name)
		if err != nil {
			return nil, err
		}
		used.plan(e.blobs, access{})
		used.plan(e.directories, access{})
	}
	for _, n := range c.order {
		if _, ok := used.access[n]; !ok {
			unused = append(unused, n.name)
		}
	}
	return unused, nil
}
