package ignore

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestByName asserts that where the state is empty, names decide as whole paths do.
func TestByName(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	byName := 0
	for range 4000 {
		var names []string
		for range 1 + rnd.IntN(4) {
			names = append(names, joined(rnd, nameParts, 2))
		}
		s := Root(New(joined(rnd, patternParts, 4)))
		for i := range names[:len(names)-1] {
			if rnd.IntN(2) == 0 {
				s = s.Push(strings.Join(names[:i], "/"), Parse([]byte(randomFile(rnd))))
			}
		}
		for i := range names {
			dir, path := strings.Join(names[:i], "/"), strings.Join(names, "/")
			if s.State(func() string { return dir }) != "" {
				continue
			}
			byName++
			for _, isDir := range []bool{false, true} {
				if got, want := s.MatchName(names[len(names)-1], isDir), s.Match(path, isDir); got != want {
					t.Errorf("%q in %q: %v by its name, %v by its path; patterns %+v", path, dir, got, want, s)
				}
			}
		}
	}
	if byName < 1000 {
		t.Errorf("only %d directories in which names decide", byName)
	}
	for _, tt := range []struct {
		pattern, dir string
		want         bool
	}{
		{"*.o", "", true}, {"/a", "", false}, {"/a", "b", true}, {"a/b", "a", false}, {"a/b", "a/b", true}, {"a/*/c", "a/x", false},
		{"a/*/c", "a/x/c", true}, {"a/**", "a/b/c/d", false}, {"a/**", "b", true}, {"**/x/y", "b/c", false},
	} {
		if got := Root(New(tt.pattern)).State(func() string { return tt.dir }) == ""; got != tt.want {
			t.Errorf("%s below %q: got %v", tt.pattern, tt.dir, got)
		}
	}
}

// TestState asserts that in directories of one state, patterns say the same of what has the same path below them.
func TestState(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	path := func() string {
		var names []string
		for range 1 + rnd.IntN(3) {
			names = append(names, joined(rnd, nameParts, 2))
		}
		return strings.Join(names, "/")
	}
	met := 0
	for range 3000 {
		s := Root(New(joined(rnd, patternParts, 5)))
		first := map[string]string{}
		for range 5 {
			dir := path()
			state := s.State(func() string { return dir })
			other, ok := first[state]
			if !ok || state == "" || other == dir {
				first[state] = dir
				continue
			}
			met++
			for range 5 {
				below := path()
				if s.Match(dir+"/"+below, false) != s.Match(other+"/"+below, false) {
					t.Fatalf("%q: in %q and %q they differ; patterns %+v", below, dir, other, s.command.list)
				}
			}
		}
	}
	if met < 500 {
		t.Errorf("only %d directories of one state", met)
	}
}

// TestFewStates counts the states of all paths of two names, twelve deep.
func TestFewStates(t *testing.T) {
	s := Root(New("a/**/b/**/c", "**/a/b/*.o", "/x"))
	states, paths := map[string]bool{}, []string{""}
	for range 12 {
		var below []string
		for _, p := range paths {
			below = append(below, p+"/a", p+"/b")
		}
		for _, p := range below {
			states[s.State(func() string { return p[1:] })] = true
		}
		paths = below
	}
	if len(states) > 12 {
		t.Errorf("%d states of %d paths", len(states), len(paths))
	}
}
