package ignore

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestByName asserts that where ByName is true, names decide as whole paths do.
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
			if !s.ByName(func() string { return dir }) {
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
		if got := Root(New(tt.pattern)).ByName(func() string { return tt.dir }); got != tt.want {
			t.Errorf("%s below %q: got %v", tt.pattern, tt.dir, got)
		}
	}
}
