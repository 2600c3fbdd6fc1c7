// Package tree answers questions about stored trees: what a reference names, what is below it, how much space it takes,
// how two trees differ, and what is damaged. It also copies trees from store to store.
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
// What is where:
//
//	resolve.go, history.go             find a root
//	walk.go, read.go                   the walk that the others use, and what it reads through
//	entries.go                         walks for callers
//	reach.go                           what roots reach
//	stat.go, usage*.go, untagged.go    counts and sizes
//	filter.go, set.go                  trees without some of their entries, sets of objects
//	diff.go, rename.go, diffstat.go    changes
//	verify*.go                         damage
//	copy*.go                           copies
//
// A few directories that refer to each other many times can have more paths than a program can visit. So only Walk,
// Diff and Pick follow every path. Walk, Search, Mark, Usage and Verify use one walk, which prunes, reads ahead, and ends
// at store.MaxDepth levels unless no path is needed. Diff, Pick, filters and copies look at two trees, or make one, and go
// down by themselves.
package tree
