// Package ignore decides which entries of a tree are left out, by patterns that mean exactly what they mean to git
// (gitignore(5), and the code where that is silent). Names and patterns are bytes; upper and lower case differ.
//
// A pattern that ends in a slash matches directories only; a symlink is no directory, whatever it points at. A pattern
// with another slash is matched against the path from the directory of its file, one without against the last name of
// the path. In patterns, ? matches any byte but a slash, * any run of them, [...] one of a set, and ** between slashes
// any directories. A backslash takes the meaning from what follows. A pattern that begins with ! makes exceptions to
// those before it.
//
// Walk a tree with a Stack: start with Root, Push the patterns of each directory that is entered, ask Match for each
// entry, and enter no directory that matches. That is also why nothing inside an ignored directory can be an exception.
package ignore

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// FileName is the name of the file that has the patterns of a directory.
	FileName = ".gitignore"
	// MaxFileSize is more than anybody writes by hand, in bytes. Longer files are not read.
	MaxFileSize = 1 << 20
)

// Patterns is a list of patterns, the later over the earlier. It is immutable, and for concurrent use.
type Patterns struct {
	list []pattern
	// byLast says which patterns can match a path, by its last byte: the numbers of those that end in this byte, and
	// under 0, which is in no path, of those whose end is not fixed; in ascending order.
	byLast map[byte][]int32
}

// pattern is one line.
type pattern struct {
	glob
	exception bool // it began with !
	dirOnly   bool // it ended in a slash
	wholePath bool // it is for the path, not for the last name
}

// Parse reads the patterns of a file, one a line. Empty lines and those that begin with # are none. Unescaped spaces at
// the end of a line, a carriage return before its end, and the UTF-8 byte order mark at the start of data are dropped.
// There are no errors: a pattern that makes no sense matches nothing. The result does not refer to data.
func Parse(data []byte) *Patterns {
	p := &Patterns{}
	text := string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSuffix(line, "\r")
		line, _, _ = strings.Cut(line, "\x00") // as in git, whose lines are C strings
		p.add(trimSpaces(line))
	}
	p.index()
	return p
}

// New returns patterns as they stand on a command line: each is one whole, with spaces at its end, and # has no meaning.
func New(patterns ...string) *Patterns {
	p := &Patterns{}
	for _, line := range patterns {
		p.add(line)
	}
	p.index()
	return p
}

// trimSpaces cuts the spaces at the end of line, but for one after a backslash.
func trimSpaces(line string) string {
	end := 0 // after the last character that stays
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

// ByName reports whether each pattern is matched with the last name of a path, and none with the whole of it.
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

// index fills byLast.
func (p *Patterns) index() {
	p.byLast = make(map[byte][]int32)
	for i := range p.list {
		last := p.list[i].last()
		p.byLast[last] = append(p.byLast[last], int32(i))
	}
}

// match returns the number of the last pattern that matches, or -1. The path is relative to where the patterns are, and
// name is its last name.
func (p *Patterns) match(path, name string, isDir bool) int {
	found := -1
	for _, last := range [2]byte{path[len(path)-1], 0} {
		numbers := p.byLast[last]
		for i := len(numbers) - 1; i >= 0 && int(numbers[i]) > found; i-- {
			n := &p.list[numbers[i]]
			if n.dirOnly && !isDir {
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

// Stack is all patterns that hold in one directory. It is a small immutable value, to be copied freely, and for
// concurrent use. The zero Stack ignores nothing.
type Stack struct{ command, dirs *frame }

// frame is the patterns of one file, and those under it.
type frame struct {
	under *frame
	*Patterns
	base int // length of the directory they are in, with its slash: what to cut from a path
}

// Root returns the Stack of the root of a tree, where only patterns of the command line hold, the later lists over the
// earlier. They hold in the whole tree, their paths begin at the root, and they go over the patterns of every directory
// (as git's --exclude does, and its --exclude-from does not).
func Root(command ...*Patterns) Stack {
	var s Stack
	for _, p := range command {
		s.command = s.command.push(p, 0)
	}
	return s
}

// Push returns the Stack of dir, which has the patterns p, over those of the directories above it: s is the Stack of the
// directory that it is in, or of the root. The path of dir is relative to the root, which is "".
func (s Stack) Push(dir string, p *Patterns) Stack {
	base := len(dir)
	if base > 0 {
		base++
	}
	s.dirs = s.dirs.push(p, base)
	return s
}

// Repository returns the Stack of a directory in which another repository begins: of s, only the patterns of the command
// line hold there.
func (s Stack) Repository() Stack { return Stack{command: s.command} }

func (f *frame) push(p *Patterns, base int) *frame {
	if p == nil || len(p.list) == 0 {
		return f
	}
	return &frame{f, p, base}
}

// Empty reports whether the Stack ignores nothing, so that callers need not make up paths for it.
func (s Stack) Empty() bool { return s.command == nil && s.dirs == nil }

// Match reports whether to leave out the entry at path, which is relative to the root, with slashes, and lies somewhere
// in the directory that s is of. The last pattern that matches decides, in the innermost file that has one. Match does
// not look whether a directory on the way is ignored.
func (s Stack) Match(path string, isDir bool) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if name == "" {
		return false // the root itself
	}
	for _, top := range [2]*frame{s.command, s.dirs} {
		for f := top; f != nil; f = f.under {
			if len(path) <= f.base {
				continue
			}
			if i := f.match(path[f.base:], name, isDir); i >= 0 {
				return !f.list[i].exception
			}
		}
	}
	return false
}
