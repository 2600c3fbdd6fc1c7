package ignore

import (
	"io/fs"
	"path"
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range patternCases() {
		s := Root().Push("", Parse([]byte(c.file)))
		for _, e := range c.entries() {
			if s.Match(e.path, e.isDir) != e.ignored {
				t.Errorf("%s: %q: ignored %q is %v, want %v", c.name, c.file, e.path, !e.ignored, e.ignored)
			}
		}
	}
}

// The command line decides first, and then the innermost file with a pattern that matches.
func TestStack(t *testing.T) {
	root := Root(New("*.log"), New("!keep.log", "/top")).Push("", Parse([]byte("*.o\n/sub/x\n!*.log\ny")))
	sub := root.Push("sub", Parse([]byte("!*.o\n/z\nz.log\n")))
	deep := sub.Push("sub/deep", Parse(nil)).Push("sub/deep/er", Parse([]byte("a.o\n!y\n")))
	for _, c := range []struct {
		at   string
		s    Stack
		path string
		want bool
	}{
		{"root", root, "a.o", true},
		{"root", root, "top", true},
		{"root", root, "a.log", true},
		{"root", root, "keep.log", false},
		{"root", root, "z", false},
		{"sub", sub, "sub/a.o", false},
		{"sub", sub, "sub/x", true},
		{"sub", sub, "sub/z", true},
		{"sub", sub, "sub/y", true},
		{"sub", sub, "sub/top", false},
		{"sub", sub, "sub/z.log", true},
		{"deep", deep, "sub/deep/er/a.o", true},
		{"deep", deep, "sub/deep/er/b.o", false},
		{"deep", deep, "sub/deep/er/y", false},
		{"deep", deep, "sub/deep/er/z", false},
		{"deep", deep, "sub/deep/er/b.log", true},
		{"root again", root, "b.o", true},
		{"none", Stack{}, "a.o", false},
		{"none", Root(nil).Push("", nil), "a.o", false},
		{"the root", Root(New("*", "**")), "", false},
	} {
		if got := c.s.Match(c.path, false); got != c.want {
			t.Errorf("%s: %q is %v, want %v", c.at, c.path, got, c.want)
		}
	}
}

// Comments and spaces at the end have no special meaning on a command line.
func TestCommandLine(t *testing.T) {
	s := Root(New("#a", "b ", "\xef\xbb\xbfc", "d\r", "*.o", "!e.o", "f/"))
	for entry, want := range map[string]bool{
		"#a": true, "b ": true, "b": false, "\xef\xbb\xbfc": true, "c": false, "d\r": true, "d": false,
		"x.o": true, "e.o": false, "f": false, "f/": true,
	} {
		name, isDir := strings.CutSuffix(entry, "/")
		if s.Match(name, isDir) != want {
			t.Errorf("%q is %v, want %v", entry, !want, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	s := Root(New("*.log")).Push("", Parse([]byte("a\n*.o\nfoo*\n**/x/*y*z\n[a-c]?\n/d/**/e\n")))
	if n := testing.AllocsPerRun(100, func() { s.Match("some/directory/with/a/name.c", false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Patterns designed to be slow take no more steps than the product of the lengths of pattern and text.
func TestStepsAreBounded(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, c := range []struct{ pattern, text string }{
		{strings.Repeat("a*", 40) + "b?", long},
		{strings.Repeat("*a", 40) + "[b]", long},
		{strings.Repeat("*?", 40) + "*b?", long},
		{strings.Repeat("**/", 40) + "b?", strings.Repeat("a/", 2000) + "a"},
		{strings.Repeat("**/a*", 40) + "/b?", strings.Repeat("a/", 2000) + "a"},
		{strings.Repeat("**/*a*/", 40) + "b?", strings.Repeat(long+"/", 16) + "a"},
		{"**/" + strings.Repeat("*a*a/", 200) + "b?", strings.Repeat("aaaa/", 800) + "a"},
		{"x/" + strings.Repeat(`**\/`, 40) + "b?", "x/" + strings.Repeat("a/", 2000) + "a"},
	} {
		g, ok := compile(c.pattern)
		if !ok {
			t.Fatalf("%q is not valid", c.pattern)
		}
		ok, steps := g.match(c.text)
		if limit := len(c.pattern) * len(c.text); ok || steps > limit || steps < 2 {
			t.Errorf("%.20q, %.20q: %v after %d steps, limit %d", c.pattern, c.text, ok, steps, limit)
		}
	}
}

// tagged is a directory with that CACHEDIR.TAG.
type tagged string

func (p tagged) Head(path string, limit int) ([]byte, error) {
	if path != CacheDirTag {
		return nil, fs.ErrNotExist
	}
	return []byte(p[:min(limit, len(p))]), nil
}

func (tagged) Exists(string) bool { return false }

func TestIsCache(t *testing.T) {
	const tag = "Signature: 8a477f597d28d172789f06886806bc55"
	for head, want := range map[string]bool{
		tag: true, tag + "\n# by somebody": true, tag[:42]: false, "": false, " " + tag: false, strings.ToUpper(tag): false,
	} {
		if got, err := IsCache(tagged(head)); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", head, got, err, want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"*.o\n!a.o\n", "d/a.o"}, {"**/a/[!b-d]?*\n", "x/a/zz"}, {"foo**/bar", "foo/a/bar"},
		{"[[:alpha:]-\\]]\\", "-"}, {"/a/**", "a/b/c"}, {"a*a*a*b", "aaaaaaaa"}, {"[[:x:]]\n[", "x"}, {`x/**\/b`, "x/a/b"},
	} {
		f.Add([]byte(seed[0]), seed[1])
	}
	f.Fuzz(func(t *testing.T, file []byte, name string) {
		p := Parse(file)
		s := Root(p, New(string(file))).Push("", p).Push(path.Dir(name), p)
		s.Match(name, true)
		s.Match(name, false)
		for i := range p.list {
			if _, steps := p.list[i].match(name); steps > (len(file)+2)*(len(name)+2) {
				t.Errorf("%d steps", steps)
			}
		}
	})
}
