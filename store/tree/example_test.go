package tree_test

import (
	"context"
	"fmt"
	"log"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// Compare two trees by their digests alone. No file contents are read.
func ExampleDiff() {
	ctx, st := context.Background(), memory.New()
	defer st.Close()
	file := func(name, contents string) store.Node {
		return store.Node{Kind: store.KindFile, Name: name, Digest: store.Sum([]byte(contents)), Size: uint64(len(contents))}
	}
	side := func(dir store.Directory) tree.Side {
		d, err := st.Directories.Put(ctx, dir)
		if err != nil {
			log.Fatal(err)
		}
		return tree.Side{Directories: st.Directories, Root: store.Node{Kind: store.KindDirectory, Digest: d}}
	}
	before := side(store.Directory{file("a", "same"), file("b", "old"), file("c", "moved")})
	after := side(store.Directory{file("a", "same"), file("b", "new"), file("d", "moved"), file("e", "more")})

	for change, err := range tree.Diff(ctx, before, after, tree.DiffOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%c %s", change.Op, change.Path)
		if change.From != "" {
			fmt.Printf(" from %s", change.From)
		}
		fmt.Println()
	}
	// Output:
	// M b
	// R d from c
	// + e
}
