package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// node is a store to be built: an instance of a composition file, or a URL.
type node struct {
	table   table
	name    string // with its table; for a URL the part without secrets
	unnamed bool   // a URL: no reference can name it
	folder  string // where relative paths start
	typ     string
	kind    kind
	parts   []*node // the nodes of kind.uses, once resolved
}

func (n *node) shortName() string { return strings.TrimPrefix(n.name, string(n.table)+".") }

// planner resolves references. It collects what is wrong in errs.
type planner struct {
	declared map[string]*node // by full name; nil: there is no composition file
	broken   map[string]bool  // by full name, instances that were reported
	urls     map[string]*node // those that may be shared
	begun    map[*node]bool   // by the nodes that were begun; true: not done
	path     []*node          // from the first node to the one being resolved
	errs     []error
}

func newPlanner(declared map[string]*node) *planner {
	return &planner{declared: declared, urls: map[string]*node{}, begun: map[*node]bool{}}
}

func (p *planner) fail(name string, err error) {
	p.errs = append(p.errs, fmt.Errorf("%s: %w", name, err))
}

// resolve finds the parts of n, and their parts.
func (p *planner) resolve(n *node) {
	switch resolving, known := p.begun[n]; {
	case resolving:
		p.fail(p.path[0].name, errors.New("cycle: "+p.way(n.shortName())))
		return
	case known:
		return
	}
	p.begun[n] = true
	p.path = append(p.path, n)
	for _, u := range n.kind.uses() {
		if part := p.find(n, u); part != nil {
			n.parts = append(n.parts, part)
			p.resolve(part)
		}
	}
	p.path = p.path[:len(p.path)-1]
	p.begun[n] = false
}

// way returns the names on the path, followed by last.
func (p *planner) way(last string) string {
	var b strings.Builder
	for _, n := range p.path {
		if n.table == p.path[0].table {
			b.WriteString(n.shortName())
		} else {
			b.WriteString(n.name)
		}
		b.WriteString(" -> ")
	}
	return b.String() + last
}

// find returns the node that a parameter of n refers to. It returns nil if there is none and reports that, or if the node
// was reported before.
func (p *planner) find(n *node, u use) *node {
	name, marked := strings.CutPrefix(u.ref, "&")
	names := []string{fullName(n.table, name), fullName(tableStores, name)}
	for _, full := range names {
		if part := p.declared[full]; part != nil {
			return p.fitting(n, u, part)
		}
		if p.broken[full] {
			return nil
		}
	}
	switch {
	case !marked && (looksLikeURL(u.ref) || p.declared == nil):
		part, err := p.url(n.table, u.ref, n.folder)
		if err == nil {
			return p.fitting(n, u, part)
		}
		p.fail(n.name, fmt.Errorf("%s %s: %w", u.key, quoteSpec(u.ref), err))
	case p.declared == nil:
		p.fail(n.name, fmt.Errorf("%s %s: stores have names only in composition files", u.key, u.ref))
	default:
		want := strings.Join(slices.Compact(names), " or ")
		p.fail(p.path[0].name, fmt.Errorf("missing: %s: want a table %s", p.way(name), want))
	}
	return nil
}

// fitting returns part if it has what n needs.
func (p *planner) fitting(n *node, u use, part *node) *node {
	if !part.kind.fits(n.table) {
		p.fail(n.name, fmt.Errorf("%s: %s is not for %s", u.key, part.name, n.table))
		return nil
	}
	return part
}

// looksLikeURL reports whether a reference is a URL or a path, and not a name.
func looksLikeURL(ref string) bool {
	_, _, ok := splitScheme(ref)
	return ok || strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, ".")
}

// url returns the node of a URL or path. Two references to the same one share a node, unless it is in memory or made of
// others.
func (p *planner) url(t table, spec, folder string) (*node, error) {
	if n := p.urls[spec]; n != nil {
		return n, nil
	}
	typ, k, err := parseURL(spec, folder)
	if err != nil {
		return nil, err
	}
	n := &node{table: t, name: "store " + quoteSpec(spec), unnamed: true, folder: folder, typ: typ, kind: k}
	if len(k.uses()) == 0 && !strings.Contains(spec, "memory:") {
		p.urls[spec] = n
	}
	return n, nil
}

// parseURL returns the kind of store for a URL or a path, and the name of the kind. A relative path starts in folder unless
// that is "".
func parseURL(spec, folder string) (string, kind, error) {
	typ, k := "packed", kind(&packedKind{Path: spec})
	if !isFile(spec) {
		scheme, rest, _ := splitScheme(spec)
		var ok bool
		typ = kindOf(scheme)
		if k, ok = newKind(typ); !ok {
			return "", nil, fmt.Errorf("unknown scheme %q: %s./%s", scheme, wantURL, withoutSecrets(spec))
		}
		if err := checkForm(scheme, rest); err != nil {
			return "", nil, err
		}
		if err := k.setURL(scheme, rest); err != nil {
			return "", nil, err
		}
	}
	if err := k.check(); err != nil {
		return "", nil, err
	}
	if p, ok := k.(*packedKind); ok && folder != "" {
		p.relativeTo(folder)
	}
	return typ, k, nil
}
