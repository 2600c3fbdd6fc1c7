package repair

import (
	"context"
	"errors"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// repairer is a Repairer that does nothing but say what it was offered.
type repairer struct{ tags []store.Tag }

func (r *repairer) Repair(_ context.Context, o store.RepairOptions) (store.RepairResult, error) {
	r.tags = o.Tags
	if o.Did != nil {
		o.Did("here", "nothing")
	}
	return store.RepairResult{Objects: 1}, nil
}

// put stores a directory with one file in both stores, or in one.
func put(t *testing.T, text string, blobs, directories []*store.Store) store.Node {
	t.Helper()
	var root store.Node
	n := store.Node{Name: "file", Kind: store.KindFile, Digest: store.Sum([]byte(text)), Size: uint64(len(text))}
	for _, st := range blobs {
		w, err := st.Blobs.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range directories {
		d, err := st.Directories.Put(t.Context(), store.Directory{n})
		if err != nil {
			t.Fatal(err)
		}
		root = store.Node{Kind: store.KindDirectory, Digest: d, Size: 1}
	}
	return root
}

// TestStore repairs a store that lacks a file, and another that lacks a directory, with and without a copy.
func TestStore(t *testing.T) {
	ctx := t.Context()
	st, from := memory.New(), memory.New()
	rep := &repairer{}
	st.Repairer = rep
	all, here, there := []*store.Store{st, from}, []*store.Store{st}, []*store.Store{from}
	for tag, root := range map[string]store.Node{
		"whole":        put(t, "whole", all, all),
		"no-file":      put(t, "no file", there, all),
		"no-directory": put(t, "no directory", here, there),
		"nowhere":      put(t, "nowhere", nil, all),
	} {
		if err := st.Tags.Set(ctx, store.Tag{Name: tag, Root: root, Time: time.Unix(1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Tags.Set(ctx, store.Tag{Name: "copy", Root: put(t, "whole", nil, all), Time: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	lost := map[string]string{}
	o := Options{Did: func(string, string) {}, Fetched: &tree.CopyCounts{}, Lost: func(tag, path string, err error) { lost[tag] = path }}
	r, err := Run(ctx, st, nil, o)
	if err != nil || r.Objects != 1 || r.StillLost != 3 || r.Whole() {
		t.Errorf("alone: %+v, %v", r, err)
	}
	if len(lost) != 3 || lost["no-file"] != "no-file:file" || lost["nowhere"] != "nowhere:file" || lost["no-directory"] != "no-directory" {
		t.Errorf("alone: lost %v", lost)
	}
	if len(rep.tags) > 0 {
		t.Errorf("alone: tags %v", rep.tags)
	}
	clear(lost)
	r, err = Run(ctx, st, from, o)
	if err != nil || r.StillLost != 1 || lost["nowhere"] != "nowhere:file" {
		t.Errorf("with a copy: %+v, %v, lost %v", r, err, lost)
	}
	if n := o.Fetched.NewBlobs.Load(); n != 1 {
		t.Errorf("with a copy: %d blobs fetched", n)
	}
	if n := o.Fetched.NewDirectories.Load(); n != 1 {
		t.Errorf("with a copy: %d directories fetched", n)
	}
	if len(rep.tags) != 1 || rep.tags[0].Name != "copy" {
		t.Errorf("with a copy: tags %v", rep.tags)
	}
	st.Repairer = nil
	if _, err := Run(ctx, st, nil, Options{}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a store that cannot repair itself: %v", err)
	}
}
