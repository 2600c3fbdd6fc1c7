package mount

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"

	"pgregory.net/rapid"
)

// randomFiles draws a tree.
func randomFiles(t *rapid.T, depth int) files {
	v := files{}
	for i := range rapid.IntRange(0, 5).Draw(t, "entries") {
		name := fmt.Sprint(i)
		switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
		case kind < 2 && depth > 0:
			v[name] = randomFiles(t, depth-1)
		case kind == 2:
			v[name] = link("x")
		default:
			v[name] = name
		}
	}
	return v
}

// TestNumbering asks for every number of random trees, whose sizes may be too large.
func TestNumbering(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.New()
		root := plant(t, st, "", randomFiles(rt, 4))
		root.Size += uint64(rapid.IntRange(0, 3).Draw(rt, "excess"))
		fs := newFsys(t.Context(), st, top{node: root}, func(path string, err error) { rt.Errorf("%s: %v", path, err) })
		found := map[string]bool{}
		for number := uint64(1); number <= root.Size+1; number++ {
			p, err := fs.find(t.Context(), number)
			if errors.Is(err, errStale) {
				continue
			}
			path := fs.path(number)
			if err != nil || p.number != number || found[path] {
				rt.Fatalf("%d: %s, %+v, %v", number, path, p, err)
			}
			found[path] = true
		}
		if want := count(t, st, root) + 1; len(found) != want {
			rt.Fatalf("%d entries have numbers, want %d", len(found), want)
		}
		for _, number := range []uint64{0, root.Size + 2, math.MaxUint64} {
			if _, err := fs.find(t.Context(), number); !errors.Is(err, errStale) {
				rt.Fatalf("%d: %v", number, err)
			}
		}
	})
}

// count returns how many entries are below a directory.
func count(t *testing.T, st *store.Store, n store.Node) (all int) {
	dir, err := st.Directories.Get(t.Context(), n.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range dir {
		all++
		if n.Kind == store.KindDirectory {
			all += count(t, st, n)
		}
	}
	return all
}

func TestTops(t *testing.T) {
	tops := newTops(top{folder: true})
	root := top{path: "tags/a", node: store.Node{Kind: store.KindDirectory, Size: 1000}}
	a := tops.use(root)
	if again := tops.use(root); again != a || a.number != root.likelyNumber() {
		t.Errorf("%+v, and again %+v", a, again)
	}
	root.path = "tags/b"
	b := tops.use(root)
	for number, want := range map[uint64]*top{
		a.number: a, a.number + 1000: a, a.number + 1001: nil, a.number - 1: nil, b.number: b, 2: nil,
	} {
		if got := tops.at(number); got != want {
			t.Errorf("%d: %+v, want %+v", number, got, want)
		}
	}
	if tops.forget(a.number, 1) || tops.at(a.number) != a {
		t.Error("forgotten too early")
	}
	if tops.forget(a.number+5, 7) || tops.forget(mountpoint, 1<<60) || tops.at(mountpoint) == nil {
		t.Error("forgot what is never forgotten")
	}
	if !tops.forget(a.number, 1) || tops.at(a.number) != nil || len(tops.byKey) != 1 {
		t.Error("not forgotten")
	}
	// Trees that fill much of the space still share no number.
	root.node.Size = 1 << 60
	var large []*top
	for i := range 4 {
		root.path = fmt.Sprint("large", i)
		large = append(large, tops.use(root))
	}
	for i, x := range large {
		for _, y := range large[:i] {
			if x.number <= y.number+y.size() && y.number <= x.number+x.size() {
				t.Errorf("%d and %d overlap", x.number, y.number)
			}
		}
	}
}

func TestCache(t *testing.T) {
	var dropped []string
	c := newCache[string](10, func(s string) int64 { return int64(len(s)) })
	c.dropped = func(s string) { dropped = append(dropped, s) }
	get := func(s string, err error) error {
		t.Helper()
		got, gotErr := c.get(t.Context(), s, func() (string, error) { return s, err })
		if err == nil && got != s {
			t.Errorf("%q: got %q", s, got)
		}
		return gotErr
	}
	fault := errors.New("fault")
	if err := get("1", fault); err != fault || c.knows("1") {
		t.Errorf("an error was kept: %v", err)
	}
	_, _, _, _ = get("4444", nil), get("5555", nil), get("4444", nil), get("6666", nil)
	if _, ok := c.peek("4444"); !ok || strings.Join(dropped, " ") != "5555" {
		t.Errorf("dropped %q", dropped)
	}
	large := strings.Repeat("x", 20)
	_ = get(large, nil)
	if _, ok := c.peek(large); !ok || c.weight != 20 {
		t.Errorf("the last value is gone; weight %d", c.weight)
	}

	// One load for all who ask, and another if its caller gives up.
	started, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.get(t.Context(), "k", func() (string, error) {
			close(started)
			<-goOn
			return "", context.Canceled
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-started
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.get(gone, "k", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wg.Go(func() {
		if v, err := c.get(t.Context(), "k", func() (string, error) { return "loaded", nil }); v != "loaded" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
	close(goOn)
	wg.Wait()
}

func TestCall(t *testing.T) {
	interrupted := make(chan struct{})
	c := &call{Context: t.Context(), interrupted: interrupted}
	if c.Err() != nil {
		t.Error(c.Err())
	}
	done := c.Done()
	close(interrupted)
	<-done // after a while
	if !errors.Is(c.Err(), context.Canceled) {
		t.Error(c.Err())
	}
	c.finish()
	quick := &call{Context: t.Context(), interrupted: make(chan struct{})}
	done = quick.Done()
	quick.finish()
	<-done
}

func TestUnescape(t *testing.T) {
	if got, want := unescape(`/a\040b\134c\011`), "/a b\\c\t"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
