package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"castar/store"
)

// closure is a tree of directories. Each comes after its children, and the root is last.
type closure struct {
	name string
	dirs []store.Directory
	ds   []store.Digest
}

// add appends a directory, and returns a function that makes its node in a parent.
func (c *closure) add(t *testing.T, dir store.Directory) func(name string) store.Node {
	t.Helper()
	size, err := dir.Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	d := store.Sum(encoding(t, dir))
	c.dirs = append(c.dirs, dir)
	c.ds = append(c.ds, d)
	return func(name string) store.Node {
		return store.Node{Name: name, Kind: store.KindDirectory, Digest: d, Size: size}
	}
}

func (c *closure) root() store.Digest { return c.ds[len(c.ds)-1] }

// put stores the directories one by one. It puts parents first, which Put allows.
func (c *closure) put(t *testing.T, st *store.Store) {
	t.Helper()
	for i := len(c.dirs) - 1; i >= 0; i-- {
		putDirectory(t, st, c.dirs[i])
	}
}

// upload stores the closure in a batch, children first.
func (c *closure) upload(ctx context.Context, st *store.Store) error {
	w, err := st.Directories.Upload(ctx)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer w.Close()
	for i, dir := range c.dirs {
		if d, err := w.Put(ctx, dir); d != c.ds[i] || err != nil {
			return fmt.Errorf("put = %s, %v, want %s", d, err, c.ds[i])
		}
	}
	if err := w.Commit(ctx, c.root()); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// closures returns trees of the shapes that a walk can get wrong.
func closures(t *testing.T) []*closure {
	link := func(name string) store.Node { return store.Node{Name: name, Kind: store.KindSymlink, Target: "x"} }
	one := &closure{name: "one empty directory"}
	one.add(t, nil)

	twice := &closure{name: "one child under two names"}
	a := twice.add(t, nil)
	twice.add(t, store.Directory{a("a"), a("a'")})

	diamond := &closure{name: "a diamond"}
	bottom := diamond.add(t, store.Directory{link("bottom")})
	left := diamond.add(t, store.Directory{bottom("x"), link("z")})
	right := diamond.add(t, store.Directory{bottom("x"), bottom("y")})
	diamond.add(t, store.Directory{left("left"), right("right")})

	// A walk breadth first meets the child beside its own parent. A walk depth first meets it before another parent.
	levels := &closure{name: "one child on many levels"}
	child := levels.add(t, store.Directory{link("child")})
	mid := levels.add(t, store.Directory{child("m"), link("mid")})
	low := levels.add(t, store.Directory{child("a"), mid("b")})
	levels.add(t, store.Directory{child("a"), low("b"), mid("c"), child("d")})

	same := &closure{name: "a file and a directory of one digest"}
	empty := same.add(t, nil)
	same.add(t, store.Directory{empty("dir"), {Name: "file", Kind: store.KindFile, Digest: store.Sum(nil)}})

	list := []*closure{one, twice, diamond, levels, same}
	if UnderRace {
		return append(list, deep(t, 20), wide(t, 5, 10))
	}
	return append(list, deep(t, 60), wide(t, 15, 10))
}

// largeClosures are longer than what stores gather before they write, or send at once. Under the race detector they
// are shorter.
func largeClosures(t *testing.T) []*closure {
	if UnderRace {
		return []*closure{deep(t, 60), wide(t, 15, 10)}
	}
	return []*closure{deep(t, 500), wide(t, 40, 50)}
}

func deep(t *testing.T, levels int) *closure {
	c := &closure{name: fmt.Sprintf("%d levels", levels)}
	node := c.add(t, nil)
	for range levels {
		node = c.add(t, store.Directory{node("d")})
	}
	return c
}

// wide has n directories of m directories.
func wide(t *testing.T, n, m int) *closure {
	c := &closure{name: fmt.Sprintf("%d directories", n*m)}
	var all store.Directory
	for i := range n {
		var dir store.Directory
		for j := range m {
			name := fmt.Sprintf("%02d-%02d", i, j)
			dir = append(dir, c.add(t, store.Directory{{Name: name, Kind: store.KindSymlink, Target: "x"}})(name))
		}
		name := fmt.Sprintf("%02d", i)
		all = append(all, c.add(t, dir)(name))
	}
	c.add(t, all)
	return c
}

func walkChecks() []check {
	return []check{
		{"an absent root is not found", func(t *testing.T, st *store.Store) {
			wantNoDirectory(t, st, store.Sum([]byte("absent")))
		}},
		{"Walk yields each once and after one that refers to it", func(t *testing.T, st *store.Store) {
			for _, c := range closures(t) {
				t.Run(c.name, func(t *testing.T) {
					c.put(t, st)
					wantWalk(t, st, c)
				})
			}
		}},
		{"Walk begins anywhere", walkFromChild},
		{"a missing child is not found", walkMissing},
		{"Walk may be stopped", walkStopped},
		{"a walk may store", walkAndStore},
		{"concurrent walks", concurrentWalks},
	}
}

// walk collects the directories that Walk yields. It is an error if anything follows an error.
func walk(ctx context.Context, st *store.Store, root store.Digest) (list []store.NamedDirectory, failed error) {
	for named, err := range st.Directories.Walk(ctx, root) {
		if failed != nil {
			return list, errors.New("walk goes on after an error")
		}
		if err != nil {
			failed = err
			continue
		}
		list = append(list, named)
	}
	return list, failed
}

// wantWalk walks c and checks the order and the contents.
func wantWalk(t *testing.T, st *store.Store, c *closure) {
	t.Helper()
	list, err := walk(t.Context(), st, c.root())
	if err != nil {
		t.Fatalf("Walk: %v", err)
	}
	if err := checkWalk(c, list); err != nil {
		t.Fatal(err)
	}
}

func checkWalk(c *closure, list []store.NamedDirectory) error {
	unseen := map[store.Digest]store.Directory{}
	for i, d := range c.ds {
		unseen[d] = c.dirs[i]
	}
	known := map[store.Digest]bool{c.root(): true} // the root, and all directories referred to so far
	for i, named := range list {
		dir, ok := unseen[named.Digest]
		if !ok || !known[named.Digest] {
			return fmt.Errorf("directory %d, %s: repeated, or not of the tree, or before its first parent", i, named.Digest)
		}
		if err := sameDirectory(named.Digest, named.Directory, dir); err != nil {
			return err
		}
		delete(unseen, named.Digest)
		for _, n := range dir {
			if n.Kind == store.KindDirectory {
				known[n.Digest] = true
			}
		}
	}
	if len(unseen) > 0 {
		return fmt.Errorf("walk left out %d directories", len(unseen))
	}
	return nil
}

func walkFromChild(t *testing.T, st *store.Store) {
	var c closure
	a := c.add(t, nil)
	b := c.add(t, store.Directory{a("a")})
	part := c
	c.add(t, store.Directory{a("a"), b("b")})
	c.put(t, st)
	wantWalk(t, st, &part)
	wantWalk(t, st, &c)
}

func walkMissing(t *testing.T, st *store.Store) {
	var missing, c closure
	gone := missing.add(t, store.Directory{{Name: "gone", Kind: store.KindFile}})
	a := c.add(t, nil)
	b := c.add(t, store.Directory{gone("gone")})
	c.add(t, store.Directory{a("a"), b("b")})
	c.put(t, st)
	list, err := walk(t.Context(), st, c.root())
	if !store.IsNotFound(err) {
		t.Errorf("Walk: error %v, want ErrNotFound", err)
	}
	if len(list) == 0 || list[0].Digest != c.root() {
		t.Errorf("Walk yielded %v, want the root first", list)
	}
	putDirectory(t, st, missing.dirs[0])
	if list, err := walk(t.Context(), st, c.root()); len(list) != 4 || err != nil {
		t.Errorf("Walk of the completed tree = %d directories, %v, want 4", len(list), err)
	}
}

func walkStopped(t *testing.T, st *store.Store) {
	all := closures(t)
	c := all[len(all)-1]
	c.put(t, st)
	for _, stop := range []int{1, 2, len(c.ds) * 2 / 3} {
		n := 0
		for _, err := range st.Directories.Walk(t.Context(), c.root()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("Walk yielded %d directories, want %d", n, stop)
		}
	}
	wantWalk(t, st, c)
}

// walkAndStore deadlocks if the store holds a lock while its caller's loop runs.
func walkAndStore(t *testing.T, st *store.Store) {
	var c closure
	c.add(t, store.Directory{c.add(t, nil)("a")})
	c.put(t, st)
	for named, err := range st.Directories.Walk(t.Context(), c.root()) {
		if err != nil {
			t.Fatal(err)
		}
		dir := store.Directory{{Name: named.Digest.String(), Kind: store.KindFile}}
		wantDirectory(t, st, putDirectory(t, st, dir), dir)
	}
}

func concurrentWalks(t *testing.T, st *store.Store) {
	all := closures(t)
	for _, c := range all {
		c.put(t, st)
	}
	parallel(t, func(worker int) error {
		c := all[worker%len(all)]
		list, err := walk(t.Context(), st, c.root())
		if err != nil {
			return err
		}
		return checkWalk(c, list)
	})
}
