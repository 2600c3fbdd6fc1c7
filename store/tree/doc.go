// Package tree answers questions about stored trees: what a reference names, what is below it, what it takes, what
// differs between two, what is damaged. It also copies trees from store to store.
//
//	"tag:usr/lib" ── Resolve ──▶ Ref{Root, Path, Node}
//	                                          │
//	Root ──▶ directory ──▶ directory ──▶ file ▼    Walk, Search: each node, with its path, in order
//	            └────────▶ (the same) ──▶ …        Mark, Usage:  each directory once, in any order
//	                                               Diff:         two trees, what is the same left out
//
// To list a tree, a caller writes
//
//	ref, err := tree.Resolve(ctx, st, "tag:usr/lib")
//	if err != nil {
//		return err
//	}
//	for entry, err := range tree.Walk(ctx, st.Directories, ref.Node, -1) {
//		if err != nil {
//			return err // or go on: the walk leaves out what cannot be read
//		}
//		fmt.Println(entry.Path)
//	}
//
// What is where: resolve.go and history.go find a root, walk.go has the walk through one tree or what several roots reach,
// and read.go what it reads through, entries.go the walks for callers, reach.go what roots lead to, finder.go the trees
// that have something, usage.go sizes, sizerule.go how directories count theirs, set.go sets of objects, filter.go trees
// without some of their entries, diff.go, rename.go and diffstat.go changes, verify*.go damage, copy*.go copies.
//
// A few directories that refer to each other over and over have more paths than anybody could visit. So nothing here
// but Walk, Diff and Pick follows every path. What goes down one tree does so by the same walk, which prunes, reads ahead,
// and ends at store.MaxDepth levels unless no path is needed. Four go down by themselves: Diff and Versions, which are in
// several trees at once, FilterSides with Pick, which makes a directory of what is left of its children, and Copier, which
// stores a directory after all that it refers to.
package tree
