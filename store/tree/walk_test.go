package tree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"

	"pgregory.net/rapid"
)

func TestWalk(t *testing.T) {
	st := memory.New()
	root := files{"a/b/c": "1", "a-b": "2", "a/d": "@x", "a0/": "", "\xff": "3"}.put(st)
	tests := []struct {
		root  store.Node
		depth int
		want  string // path, depth, and ! where it is the last one
	}{
		{root, -1, ":0! a-b:1 a:1 a/b:2 a/b/c:3! a/d:2! a0:1 \xff:1!"},
		{root, 0, ":0!"},
		{root, 1, ":0! a-b:1 a:1 a0:1 \xff:1!"},
		{leaf(st, "name", "1"), -1, ":0!"},
		{leaf(st, "", "@1"), -1, ":0!"},
	}
	for _, tt := range tests {
		var all []string
		for e, err := range tree.Walk(t.Context(), st.Directories, tt.root, tt.depth) {
			if err != nil {
				t.Fatal(err)
			}
			last := ""
			if e.Last {
				last = "!"
			}
			all = append(all, fmt.Sprintf("%s:%d%s", e.Path, e.Depth, last))
			if name := e.Path[strings.LastIndexByte(e.Path, '/')+1:]; e.Depth > 0 && e.Node.Name != name {
				t.Errorf("%s: name %s", e.Path, e.Node.Name)
			}
		}
		if got := strings.Join(all, " "); got != tt.want {
			t.Errorf("depth %d: got %q, want %q", tt.depth, got, tt.want)
		}
	}
}

// TestWalkMissing asserts that what cannot be read is an error, and hides nothing else.
func TestWalkMissing(t *testing.T) {
	f := newFixture(t)
	var seen []string
	for e, err := range tree.Walk(t.Context(), f.Directories, f.top, -1) {
		if err != nil {
			if !errors.Is(err, store.ErrNotFound) || !strings.HasPrefix(err.Error(), "usr/gone: directory ") {
				t.Error(err)
			}
			e.Path += "?"
		}
		seen = append(seen, e.Path)
	}
	if got := strings.Join(seen, " "); got != " a:b link usr usr/gone usr/gone? usr/lib usr/lib/x usr/lib/\xff" {
		t.Errorf("got %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range tree.Walk(ctx, f.Directories, f.top, -1) {
		if n++; n == 4 {
			cancel()
		}
		if err != nil && !errors.Is(err, context.Canceled) || n > 5 {
			t.Errorf("entry %d: %v", n, err)
		}
	}
	if ctx.Err() == nil {
		t.Error("too short a walk")
	}
	for _, err := range tree.Walk(t.Context(), nil, f.top, 1) {
		if err != nil && !errors.Is(err, store.ErrUnsupported) {
			t.Error(err)
		}
	}
}

func TestWalkOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.New()
		var paths []string
		for e, err := range tree.Walk(t.Context(), st.Directories, genFiles(rt, "a").put(st), -1) {
			if err != nil {
				rt.Fatal(err)
			}
			if e.Node.Kind == store.KindDirectory && e.Path != "" {
				e.Path += "/"
			}
			paths = append(paths, e.Path)
		}
		if !slices.IsSorted(paths) || len(slices.Compact(paths)) != len(paths) {
			rt.Errorf("%q", paths)
		}
	})
}
