package tree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"castar/store"
)

// trail is the way from a root down to a node. It is a chain, so a walk holds no path for each of its levels.
type trail struct {
	up     *trail        // to the directory that holds the node; nil for a root
	name   string        // of a root: what errors call it, or ""
	digest *store.Digest // of the directory that a walk has read here
	depth  int           // 1 for a root
	last   bool          // nothing follows in the same directory
}

// rootTrail returns the trail of a root.
func rootTrail(name string) *trail { return &trail{name: name, depth: 1, last: true} }

// trailOf returns the trail to a path below a root without a name.
func trailOf(path string) *trail {
	at := rootTrail("")
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			at = at.child(name)
		}
	}
	return at
}

// child returns the trail of an entry of the directory at t.
func (t *trail) child(name string) *trail { return &trail{up: t, name: name, depth: t.depth + 1} }

// path returns the path from the root, or "" for the root itself.
func (t *trail) path() string {
	names := make([]string, 0, 32) // not on the heap
	if t.depth > cap(names) {
		names = make([]string, 0, t.depth)
	}
	for ; t.up != nil; t = t.up {
		names = append(names, t.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// String returns the path as errors say it: after the name of the root, if that has one, and shortened if it is very
// long. A root without a name is ".".
func (t *trail) String() string {
	path, root := store.ShortPath(t.path()), t.root()
	if path == "" || root == "" {
		return cmp.Or(root, path, ".")
	}
	return root + ":" + path
}

// root returns the name of the root.
func (t *trail) root() string {
	for t.up != nil {
		t = t.up
	}
	return t.name
}

// wrap puts the path before an error.
func (t *trail) wrap(err error) error { return fmt.Errorf("%s: %w", t, err) }

// addAbove adds the directories above the node to a set that has, with any of them, those above it.
func (t *trail) addAbove(set store.ObjectSet) {
	for up := t.up; up != nil; up = up.up {
		if isNew, _ := set.Add(store.KindDirectory, *up.digest); !isNew {
			return
		}
	}
}
