package tree

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"castar/store"
)

// Entry is a node of a tree, and where it is.
type Entry struct {
	Path  string     // from the root, without a slash at its end; "" is the root
	Node  store.Node // with its name
	Depth int        // the number of components in Path
	Last  bool       // nothing follows in the same directory
}

// Walk yields root and what is below it, down to depth components from it, or everything if depth is negative.
//
// The order is that of the bytes of the paths, with a slash at the end of the path of each directory. A directory comes
// right before what it holds, and after all that sorts before a slash: "a-b" comes before "a/". It is the order of
// git's trees and of LC_ALL=C sort, and Diff has it too. Walk holds the directories from root to the entry, and a
// bounded number that it reads ahead.
//
// A directory that cannot be read is yielded again, with the error, and the walk goes on beside it. The error begins
// with the path. It is store.ErrNotFound if the store lacks the directory, and store.ErrTooDeep below store.MaxDepth
// levels.
func Walk(ctx context.Context, ds store.Directories, root store.Node, depth int) iter.Seq2[Entry, error] {
	return walkEntries(ctx, ds, root, depth, nil)
}

// Matcher says what Search yields. Its functions get a function that returns a path, which takes as long as the path.
type Matcher struct {
	// Match reports whether to yield a node.
	Match func(path func() string, n *store.Node) bool
	// State returns what of the path of a directory matters to what Match says of all that is below it.
	State func(dir func() string) string
}

// Search is Walk of the whole tree, but it yields only errors and the nodes that m matches. It does not enter a directory
// again in a state in which it has found nothing below it. So where nothing is found, a tree that shares directories takes
// the time of its directories, once for each state, and not of its paths.
func Search(ctx context.Context, ds store.Directories, root store.Node, m Matcher) iter.Seq2[Entry, error] {
	return walkEntries(ctx, ds, root, -1, &m)
}

// searchKey is what decides what a search finds below a directory.
type searchKey struct {
	digest store.Digest
	state  string
}

// walkEntries is Walk of the nodes that m matches; nil matches all.
func walkEntries(ctx context.Context, ds store.Directories, root store.Node, depth int, m *Matcher) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var bare memo[searchKey, struct{}]        // directories below which nothing matches
		var bareOnce memo[store.Digest, struct{}] // in some state
		met, before := 0, []searchedLevel{}       // entries that were yielded; the levels down to the node
		var path []byte                           // of the node
		ends := []int{0}                          // for each level, the length of its path with a slash
		where := func() string { return string(path) }
		var key searchKey // of the node, if it is a directory
		hand := func(at *trail, n *store.Node, err error) error {
			met++
			if !yield(Entry{string(path), *n, at.depth - 1, at.last}, err) {
				return errStop
			}
			return nil
		}
		w := walker{ctx: ctx, ds: ds, skip: bareOnce.has}
		if depth >= 0 {
			w.deepest = min(depth, store.MaxDepth)
		}
		w.enter = func(at *trail, n *store.Node) (bool, error) {
			if at.up != nil {
				path = append(path[:ends[at.depth-2]], at.name...)
			}
			if m == nil || m.Match(where, n) {
				if err := hand(at, n, nil); err != nil {
					return false, err
				}
			}
			if m == nil || n.Kind != store.KindDirectory {
				return at.depth-1 != depth, nil
			}
			key = searchKey{n.Digest, m.State(where)}
			return !bare.has(key), nil
		}
		w.open = func(at *trail, _ *store.Node, _ store.Directory) (bool, error) {
			if at.up != nil {
				path = append(path, '/')
			}
			before, ends = append(before, searchedLevel{key, met}), append(ends[:at.depth-1], len(path))
			return true, nil
		}
		w.leave = func(at *trail) {
			l := before[len(before)-1]
			if m != nil && met == l.met {
				bare.put(l.key, struct{}{})
				bareOnce.put(l.key.digest, struct{}{})
			}
			before = before[:len(before)-1]
		}
		w.failed = func(at *trail, n *store.Node, err error) error {
			if err := hand(at, n, err); err != nil {
				return err
			}
			return ctx.Err()
		}
		w.inOrder(rootTrail(""), root) // its errors were yielded
	}
}

// searchedLevel is a directory on the way down to a node, and how many entries were yielded before it.
type searchedLevel struct {
	key searchKey
	met int
}

// Version is a node that a path leads to in some of several trees.
type Version struct {
	Path string     // from the roots, without a slash at its end
	Node store.Node // with its name
	In   []int      // which of the roots have it, ascending; not to be changed
}

// Versions yields what m matches below all the roots: each different node of a path once. The order of paths is that
// of Walk; of the nodes of one path, the one that the first root has comes first. A root with a name, which is no
// directory, is an entry by itself. All trees are walked at once, so a directory that many of them have in one place is
// read once. Elsewhere, a directory is not read again in a state in which nothing below it matches.
//
// A directory that cannot be read is yielded with the error, as by Walk, and the walk goes on beside it. Versions holds,
// of the directories on the way down, their directories and what matches.
func Versions(ctx context.Context, ds store.Directories, roots []store.Node, m Matcher) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		v := versions{reader: newReader(ctx, ds, store.MaxDepth), m: m, yield: yield}
		v.where = func() string { return v.at.child(v.name).path() }
		defer v.close()
		var top gathering
		places := make([][]int, len(roots))
		for i, root := range roots {
			places[i] = []int{i}
			top.add(i, root)
			v.expect(rootTrail(""), &root)
		}
		v.enter(rootTrail(""), top.occurrences(places))
	}
}

// versions is a walk through several trees at once.
type versions struct {
	*reader
	m        Matcher
	yield    func(Version, error) bool
	met      int                          // how often yield was called
	bare     memo[searchKey, struct{}]    // directories below which nothing matches
	bareOnce memo[store.Digest, struct{}] // in some state

	at    *trail // of a directory
	name  string // in it, of the node that is matched
	where func() string
}

// match reports whether the entry n of the directory at a trail matches. It makes no path that nobody asks for: paths may be
// long.
func (v *versions) match(at *trail, n *store.Node) bool {
	v.at, v.name = at, n.Name
	return v.m.Match(v.where, n)
}

// occurrence is a node, and which of the roots have it.
type occurrence struct {
	node store.Node
	in   []int
}

// visitAll visits the entries of the directory at a trail, and all below them. Those of one name follow each other. It
// reports false if the walk is over.
func (v *versions) visitAll(at *trail, all []occurrence) bool {
	for first, end, ahead := 0, 0, 0; first < len(all); first = end {
		for end = first + 1; end < len(all) && compareNodes(&all[first].node, &all[end].node) == 0; end++ {
		}
		for ; ahead < min(end+aheadWindow, len(all)); ahead++ {
			v.expect(at, &all[ahead].node)
		}
		if !v.visit(at.child(all[first].node.Name), all[first:end]) {
			return false
		}
	}
	return true
}

// expect begins to read an entry of the directory at a trail that will be entered.
func (v *versions) expect(at *trail, n *store.Node) {
	if n.Kind == store.KindDirectory && !v.bareOnce.has(n.Digest) {
		v.begin(at, n.Digest)
	}
}

// visit visits different nodes of one path, either all directories or none, and what is below them.
func (v *versions) visit(at *trail, same []occurrence) bool {
	isDir := same[0].node.Kind == store.KindDirectory
	for _, o := range same {
		if isDir && !v.match(at.up, &o.node) { // what is no directory was accepted
			continue
		}
		if !v.hand(at, &o, nil) {
			return false
		}
	}
	return !isDir || v.enter(at, same)
}

// enter visits what is in and below different directories of one path, or the roots, which may be entries by themselves.
func (v *versions) enter(at *trail, same []occurrence) bool {
	before, state := v.met, v.m.State(at.path)
	var below gathering
	places := make([][]int, len(same))
	for i, o := range same {
		places[i] = o.in
		if v.bare.has(searchKey{o.node.Digest, state}) && v.ahead[o.node.Digest] == nil {
			continue
		}
		dir, err := store.Directory{o.node}, error(nil)
		if o.node.Kind == store.KindDirectory {
			dir, err = v.get(at, o.node.Digest)
		}
		if err != nil && (!v.hand(at, &o, err) || v.ctx.Err() != nil) {
			return false
		}
		for j := range dir {
			if n := &dir[j]; n.Kind == store.KindDirectory || v.match(at, n) {
				below.add(i, *n)
			}
		}
	}
	if !v.visitAll(at, below.occurrences(places)) {
		return false
	}
	if v.met == before {
		for _, o := range same {
			v.bare.put(searchKey{o.node.Digest, state}, struct{}{})
			v.bareOnce.put(o.node.Digest, struct{}{})
		}
	}
	return true
}

// hand yields a node or the error of a directory.
func (v *versions) hand(at *trail, o *occurrence, err error) bool {
	v.met++
	return v.yield(Version{at.path(), o.node, o.in}, err)
}

// gathering is the different entries of several directories.
type gathering struct {
	known map[store.Node]int // where it is in all
	all   []gathered
}

// gathered is a node, and which of the directories have it: from the first to before the second, and so on.
type gathered struct {
	node store.Node
	from [][2]int
}

// add adds an entry of the directory number i. The numbers never fall.
func (g *gathering) add(i int, n store.Node) {
	at, ok := g.known[n]
	if !ok {
		if g.known == nil {
			g.known = map[store.Node]int{}
		}
		at = len(g.all)
		g.known[n] = at
		g.all = append(g.all, gathered{node: n})
	}
	from := g.all[at].from
	if last := len(from) - 1; last >= 0 && from[last][1] == i {
		from[last][1]++
	} else {
		g.all[at].from = append(from, [2]int{i, i + 1})
	}
}

// occurrences returns the entries in the order of Versions. places says which of the roots have each directory.
func (g *gathering) occurrences(places [][]int) []occurrence {
	everywhere := union(places)
	all := make([]occurrence, len(g.all))
	for i, e := range g.all {
		all[i] = occurrence{e.node, everywhere}
		if e.from[0] == [2]int{0, len(places)} {
			continue
		}
		var some [][]int
		for _, span := range e.from {
			some = append(some, places[span[0]:span[1]]...)
		}
		all[i].in = union(some)
	}
	slices.SortFunc(all, func(a, b occurrence) int {
		return cmp.Or(compareNodes(&a.node, &b.node), a.in[0]-b.in[0])
	})
	return all
}

// union returns what several lists that have nothing in common hold, sorted.
func union(lists [][]int) []int {
	if len(lists) == 1 {
		return lists[0]
	}
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// compareNodes compares entries of directories by the order of Walk.
func compareNodes(a, b *store.Node) int {
	aDir, bDir := a.Kind == store.KindDirectory, b.Kind == store.KindDirectory
	if a.Name == b.Name && aDir == bDir {
		return 0
	}
	return comparePaths(a.Name, aDir, b.Name, bDir)
}
