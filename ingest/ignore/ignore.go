// Package ignore decides which entries of a tree to leave out. Its patterns mean exactly what they mean to git, by
// gitignore(5) and by git's code if the manual is silent. Names and patterns are bytes. Case matters, except to NewFold.
//
// A pattern that ends in a slash matches only directories. A symlink is not a directory, whatever its target. A pattern
// with any other slash is matched against the path relative to its file, and a pattern without one against the last name
// of the path. In patterns, ? matches any byte except a slash, * any number of such bytes, [...] one byte of a set, and
// ** between slashes any directories. A backslash makes the next character literal. A pattern that begins with ! makes
// exceptions to the patterns before it.
//
// To walk a tree, start with the Stack that Root returns, Push the patterns of each directory, and ask Match about each
// entry:
//
//	ignored := ignore.Root(commandLine)
//	ignored = ignored.Push("", ignore.Parse(contents)) // of .gitignore in the root
//	if ignored.Match("a/b", isDir) { ... }             // leave it out
//
// Do not enter a directory that matches. So nothing inside an ignored directory can be an exception.
package ignore

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
)

const (
	// FileName is the name of the file with the patterns of a directory.
	FileName = ".gitignore"
	// MaxFileSize is the largest size of such a file, in bytes. Nobody writes so many patterns by hand.
	MaxFileSize = 1 << 20
)

// Patterns is a list of patterns. A later pattern overrides the earlier ones. Patterns is immutable and may be used
// concurrently.
type Patterns struct {
	list []pattern
	fold bool // paths and names are matched in lower case
	// byLast tells which patterns can match a path, by its last byte. It has the indexes, in ascending order, of the
	// patterns that end in that byte. Patterns whose last byte is not fixed are under 0, which is in no path.
	byLast map[byte][]int32
	sum    [sha256.Size]byte // of what was parsed
}

// pattern is one line.
type pattern struct {
	glob
	exception bool // it began with !
	dirOnly   bool // it ended in a slash
	wholePath bool // it is matched against the path, not against the last name
}

// Parse parses a file of patterns, one on each line. It skips empty lines and lines that begin with #. It drops
// unescaped spaces at the end of a line, a carriage return before the end, and a UTF-8 byte order mark at the start of
// data. There are no errors: a malformed pattern matches nothing. The result does not refer to data.
func Parse(data []byte) *Patterns {
	p := &Patterns{sum: sha256.Sum256(data)}
	text := string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSuffix(line, "\r")
		line, _, _ = strings.Cut(line, "\x00") // lines are C strings in git
		p.add(trimSpaces(line))
	}
	p.index()
	return p
}

// New returns patterns from a command line. Each argument is one pattern: spaces at its end count, and # is not special.
func New(patterns ...string) *Patterns {
	p := &Patterns{}
	for _, line := range patterns {
		p.add(line)
	}
	p.index()
	return p
}

// NewFold is New for patterns that match letters of either case.
func NewFold(patterns ...string) *Patterns {
	p := &Patterns{fold: true}
	for _, line := range patterns {
		p.add(strings.ReplaceAll(strings.ToLower(line), "[:upper:]", "[:lower:]"))
	}
	p.index()
	return p
}

// trimSpaces removes the spaces at the end of line, except for one after a backslash.
func trimSpaces(line string) string {
	end := 0 // just past the last character to keep
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = i + 1
	}
	return line[:min(end, len(line))]
}

// ByName reports whether all patterns are matched against the last name of a path.
func (p *Patterns) ByName() bool {
	return !slices.ContainsFunc(p.list, func(n pattern) bool { return n.wholePath })
}

func (p *Patterns) add(line string) {
	var n pattern
	line, n.exception = strings.CutPrefix(line, "!")
	line, n.dirOnly = strings.CutSuffix(line, "/")
	n.wholePath = strings.Contains(line, "/")
	var ok bool
	if n.glob, ok = compile(strings.TrimPrefix(line, "/")); ok {
		p.list = append(p.list, n)
	}
}

func (p *Patterns) index() {
	p.byLast = make(map[byte][]int32)
	for i := range p.list {
		last := p.list[i].last()
		p.byLast[last] = append(p.byLast[last], int32(i))
	}
}

// match returns the index of the last pattern that matches, or -1. The path is relative to the directory of the patterns,
// and name is its last name. If path is "", only patterns that are matched against names count.
func (p *Patterns) match(path, name string, isDir bool) int {
	if p.fold {
		path, name = strings.ToLower(path), strings.ToLower(name)
	}
	found := -1
	for _, last := range [2]byte{name[len(name)-1], 0} {
		numbers := p.byLast[last]
		for i := len(numbers) - 1; i >= 0 && int(numbers[i]) > found; i-- {
			n := &p.list[numbers[i]]
			if n.dirOnly && !isDir || n.wholePath && path == "" {
				continue
			}
			text := name
			if n.wholePath {
				text = path
			}
			if ok, _ := n.match(text); ok {
				found = int(numbers[i])
			}
		}
	}
	return found
}

// Stack is all patterns that hold in one directory. It is a small immutable value: copy it freely and use it
// concurrently. The zero Stack ignores nothing.
type Stack struct{ command, dirs *frame }

// frame is the patterns of one file, and the frames that it overrides.
type frame struct {
	under *frame
	*Patterns
	base  int  // length of the path of their directory, with its slash, to cut from a path
	names bool // these patterns and those under them are matched against names
}

// Root returns the Stack of the root of a tree, with the patterns of the command line. A later list overrides the earlier
// ones. These patterns hold in the whole tree, their paths begin at the root, and they override the patterns of every
// directory. In git, --exclude does the same, but --exclude-from does not.
func Root(command ...*Patterns) Stack {
	var s Stack
	for _, p := range command {
		s.command = s.command.push(p, 0)
	}
	return s
}

// Push returns the Stack of a directory with the patterns p, which override those of the directories above. s is the Stack
// of its parent, or the result of Root for the root itself. dir is the path of the directory, relative to the root, which
// is "".
func (s Stack) Push(dir string, p *Patterns) Stack {
	base := len(dir)
	if base > 0 {
		base++
	}
	s.dirs = s.dirs.push(p, base)
	return s
}

// Repository returns the Stack of a directory that is the root of another repository. It has only the patterns of the
// command line from s.
func (s Stack) Repository() Stack { return Stack{command: s.command} }

func (f *frame) push(p *Patterns, base int) *frame {
	if p == nil || len(p.list) == 0 {
		return f
	}
	return &frame{f, p, base, p.ByName() && (f == nil || f.names)}
}

// Empty reports whether the Stack ignores nothing. Callers can then save building paths.
func (s Stack) Empty() bool { return s.command == nil && s.dirs == nil }

// MatchName is Match for an entry of a directory whose State is "".
func (s Stack) MatchName(name string, isDir bool) bool { return s.match("", name, isDir) }

// Match reports whether to leave out the entry at path, which is relative to the root, with slashes, and is below the
// directory of s. The innermost file with a pattern that matches decides, by its last such pattern. Match does not check
// whether a directory on the way is ignored.
func (s Stack) Match(path string, isDir bool) bool {
	return s.match(path, path[strings.LastIndexByte(path, '/')+1:], isDir)
}

func (s Stack) match(path, name string, isDir bool) bool {
	if name == "" {
		return false // the root itself
	}
	for _, top := range [2]*frame{s.command, s.dirs} {
		for f := top; f != nil; f = f.under {
			if i := f.match(path[min(f.base, len(path)):], name, isDir); i >= 0 {
				return !f.list[i].exception
			}
		}
	}
	return false
}
