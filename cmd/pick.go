package cmd

import (
	"context"
	"fmt"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/tree"
)

// picked is a part of a tree, by patterns.
type picked struct{ include, exclude []string }

// some reports whether there are patterns.
func (p *picked) some() bool { return len(p.include)+len(p.exclude) > 0 }

// from returns what the patterns leave of node, and a store in which to find it.
func (p *picked) from(ctx context.Context, st *store.Store, node store.Node) (*store.Store, store.Node, error) {
	if !p.some() {
		return st, node, nil
	}
	include, exclude := ignore.Root(ignore.New(p.include...)), ignore.Root(ignore.New(p.exclude...))
	ds, node, err := tree.Pick(ctx, st.Directories, node, func(path string, n *store.Node, taken bool) tree.Choice {
		isDir := n.Kind == store.KindDirectory
		switch {
		case exclude.Match(path, isDir):
			return tree.LeaveOut
		case taken || len(p.include) == 0 || include.Match(path, isDir):
			return tree.Take
		}
		return tree.LookIn
	}, func(dir string) string {
		at := func() string { return dir }
		return fmt.Sprintf("%q%q", include.State(at), exclude.State(at))
	})
	part := *st
	part.Directories = ds
	return &part, node, err
}
