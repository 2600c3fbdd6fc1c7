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
//	resolve.go                         finds a root
//	history.go                         finds a root in the log, and what tags and log keep
//	walk.go, read.go                   the walk through one tree or what several roots reach, and what it reads through
//	entries.go                         walks for callers
//	reach.go, finder.go                what roots reach, and which trees contain a node
//	usage*.go, untagged.go             sizes, also of what no tag reaches
//	sizerule.go                        how directories count their size
//	set.go, filter.go                  sets of objects, and trees without some of their entries
//	diff.go, rename.go, diffstat.go    changes
//	json.go                            what JSON says of nodes and changes
//	verify*.go                         damage
//	copy*.go                           copies
//
// A few directories that refer to each other many times can have more paths than a program can visit. So only Walk,
// Diff and Pick follow every path. What goes down one tree does so by the same walk, which prunes, reads ahead, and ends
// at store.MaxDepth levels unless no path is needed. These go down by themselves. Diff and Versions are in several trees
// at once. FilterSides and Pick make a directory of what is left of its children. Copier stores a directory after all that
// it refers to.
package tree
