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
// What is where: resolve.go and history.go find a root, walk.go has the walk that all others are made of and read.go what
// it reads through, entries.go the walks for callers, reach.go what roots lead to, usage.go sizes, filter.go trees without
// some of their entries, diff.go, rename.go and diffstat.go changes, verify*.go damage, copy*.go copies.
//
// A few directories that refer to each other over and over have more paths than anybody could visit. So nothing here
// but Walk, Diff and Pick follows every path. Everything goes down a tree by the same walk, which prunes, reads ahead, and
// ends at store.MaxDepth levels unless no path is needed.
package tree
