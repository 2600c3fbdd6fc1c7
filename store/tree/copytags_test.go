package tree_test

import (
	"context"
	"errors"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// TestCopyTagged copies a root with the listing of its tag, and sets the tag only once, unless it may move.
func TestCopyTagged(t *testing.T) {
	ctx, from, to := context.Background(), memory.New(), memory.New()
	root, other := files{"a": "1"}.put(from), files{"a": "2"}.put(from)
	listing := leaf(from, "", "#mtree").Digest
	tags := []store.Tag{{Name: "one", Root: root, Listing: listing}, {Name: "two", Root: other}, {Name: "lost", Root: root, Listing: store.Digest{1}}}
	found := root
	found.Size = 0 // as by its digest
	roots := tree.WithTags([]tree.Root{{Name: "x", Node: found}}, tags[:2])
	if len(roots) != 1 || len(roots[0].Tags) != 1 || roots[0].Tags[0].Name != "one" {
		t.Fatalf("tags %v follow the root", roots)
	}
	c := tree.NewCopier(from, to, tree.CopyOptions{})
	roots[0].Node = root
	if err := c.CopyTagged(ctx, &roots[0]); err != nil || !roots[0].Whole || roots[0].As != root {
		t.Fatalf("%v, %+v", err, roots[0])
	}
	if has, err := to.Blobs.Has(ctx, listing); err != nil || !has {
		t.Errorf("the listing was not copied: %v", err)
	}
	lost := tree.WithTags([]tree.Root{{Name: "x", Node: root}}, tags[2:])
	if err := c.CopyTagged(ctx, &lost[0]); !errors.Is(err, tree.ErrIncomplete) || lost[0].Whole {
		t.Errorf("without its listing a tag is whole: %v", err)
	}
	moved := store.Tag{Name: "one", Root: other}
	for _, step := range []struct {
		name                string
		tag                 store.Tag
		overwrite, conflict bool
		want                store.Node
	}{
		{"a new tag", tags[0], false, false, root},
		{"the same", tags[0], false, false, root},
		{"elsewhere", moved, false, true, root},
		{"moved", moved, true, false, other},
	} {
		conflict, err := tree.FollowTag(ctx, to, step.tag, step.overwrite)
		got, gerr := to.Tags.Get(ctx, "one")
		if err != nil || gerr != nil || (conflict != nil) != step.conflict || got.Root != step.want {
			t.Errorf("%s: conflict %v, %v; the tag points at %v, %v", step.name, conflict, err, got.Root, gerr)
		}
	}
}
