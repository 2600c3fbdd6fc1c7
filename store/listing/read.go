package listing

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"castar/store"
)

const (
	// maxLine is the length of the longest line that is read, in bytes. Linux allows an attribute 64 KiB, and a file a
	// list of attributes as long as that.
	maxLine = 16 << 20
	// maxFolders is how many directories Open takes. Each costs about a hundred bytes.
	maxFolders = 1 << 23
	// blockSize is how much of a block Lines reads at once. Nearly all blocks are smaller.
	blockSize = 64 << 10
)

// errTooMany is the error for more than maxFolders directories.
var errTooMany = errors.New("too many directories")

// Folder is a directory of a listing that Open has read. It may be used concurrently.
type Folder struct {
	name     string
	from, to int64 // its block in the text, from its /set line
	folders  []*Folder
	text     io.ReaderAt
	only     string // if not "", the Folder stands for the file or symbolic link of that name in the block
}

// Open finds the directories of a listing, and returns its root. It keeps about a hundred bytes for each directory, and
// reads text again when entries are asked for. report is told what makes no sense, with the number of the line; Open
// passes over it. The error is that of text, or says that nothing in it is a listing, or that it has more than eight
// million directories.
func Open(text io.ReaderAt, size int64, report func(error)) (*Folder, error) {
	o := opener{text: text, report: report}
	lines := bufio.NewScanner(io.NewSectionReader(text, 0, size))
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	lines.Split(o.split)
	for o.folders <= maxFolders && lines.Scan() {
		o.number++
		if err := o.line(lines.Bytes()); err != nil {
			report(fmt.Errorf("listing, line %d: %w", o.number, err))
		}
	}
	o.close(o.next)
	switch err := lines.Err(); {
	case err != nil:
		return nil, fmt.Errorf("listing: %w", err)
	case o.folders > maxFolders:
		return nil, fmt.Errorf("listing: %w", errTooMany)
	}
	if o.root == nil {
		return nil, errors.New("listing: it has no root")
	}
	o.root.sort(report)
	return o.root, nil
}

// opener is a call of Open.
type opener struct {
	text    io.ReaderAt
	report  func(error)
	number  int   // of the line
	at      int64 // where the line begins
	next    int64 // where the next line begins
	root    *Folder
	stack   []*Folder
	block   *Folder // whose block the line belongs to, if any
	set     int64   // where the last /set line began
	isSet   bool    // it was the line before
	lost    int     // directories that made no sense, and that have not ended
	folders int
}

// split is bufio.ScanLines, and counts.
func (o *opener) split(data []byte, atEOF bool) (advance int, token []byte, err error) {
	advance, token, err = bufio.ScanLines(data, atEOF)
	o.at = o.next
	o.next += int64(advance)
	return advance, token, err
}

func (o *opener) close(at int64) {
	if o.block != nil {
		o.block.to = at
		o.block = nil
	}
}

func (o *opener) line(text []byte) error {
	first, rest := cutWord(text)
	switch {
	case len(first) == 0 || first[0] == '#':
		return nil
	case string(first) == "/set":
		o.close(o.at)
		o.set, o.isSet = o.at, true
		return nil
	case string(first) == "..":
		o.close(o.at)
		o.isSet = false
		return o.leave()
	case !o.isSet:
		if o.block == nil && o.lost == 0 {
			return errors.New("in no directory")
		}
		return nil // read when it is asked for
	}
	o.isSet = false
	var e Entry
	name, err := parseName(first)
	if err == nil {
		err = e.set(rest)
	}
	if err != nil {
		o.lost++
		return err
	}
	return o.enter(name, e.Kind == store.KindDirectory)
}

// enter begins the block of a directory, or of a root that is none.
func (o *opener) enter(name string, isDir bool) error {
	f := &Folder{name: name, from: o.set, to: o.next, text: o.text}
	isRoot := o.root == nil && name == "."
	switch {
	case isRoot:
		o.root = f
	case name == ".", len(o.stack) == 0, o.lost > 0, !isDir, len(o.stack) >= store.MaxDepth:
		o.lost++
		return fmt.Errorf("%q: not a directory of the tree", name)
	default:
		o.folders++
		parent := o.stack[len(o.stack)-1]
		parent.folders = append(parent.folders, f)
	}
	o.block = f
	if isDir {
		o.stack = append(o.stack, f)
	}
	return nil
}

func (o *opener) leave() error {
	switch {
	case o.lost > 0:
		o.lost--
	case len(o.stack) == 0:
		return errors.New("no directory to leave")
	default:
		o.stack = o.stack[:len(o.stack)-1]
	}
	return nil
}

// sort makes Folder able to search. Of two directories with the same name the first counts.
func (f *Folder) sort(report func(error)) {
	slices.SortStableFunc(f.folders, func(a, b *Folder) int { return cmp.Compare(a.name, b.name) })
	f.folders = slices.CompactFunc(f.folders, func(a, b *Folder) bool {
		if a.name == b.name {
			report(fmt.Errorf("listing: duplicate entry %s", store.Quote(a.name)))
		}
		return a.name == b.name
	})
	for _, below := range f.folders {
		below.sort(report)
	}
}

// Folder returns the directory of that name in f, or nil. f may be nil.
func (f *Folder) Folder(name string) *Folder {
	if f == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(f.folders, name, func(a *Folder, name string) int { return cmp.Compare(a.name, name) })
	if !ok {
		return nil
	}
	return f.folders[i]
}

// Folders yields the names of the directories in f, sorted. f may be nil.
func (f *Folder) Folders() iter.Seq[string] {
	return func(yield func(string) bool) {
		if f == nil {
			return
		}
		for _, below := range f.folders {
			if !yield(below.name) {
				return
			}
		}
	}
}

// At returns the part of f at a path, as if the entry there were the root. The Self of its Lines says what is known
// about that entry. The path has names with slashes between them; "" is f. The result may be nil, or know nothing.
func (f *Folder) At(path string) *Folder {
	for path != "" && f != nil {
		name, rest, _ := strings.Cut(path, "/")
		below := f.Folder(name)
		if below == nil && rest == "" {
			below = &Folder{name: name, from: f.from, to: f.to, text: f.text, only: name}
		}
		f, path = below, rest
	}
	return f
}

// Lines is what a listing says of a directory itself, and of its files and symbolic links. It may be used concurrently.
type Lines struct {
	Self     Entry
	defaults Entry
	text     []byte
	lines    []span
	next     atomic.Int64 // where the line may be that is asked for next
}

// span is a line and its name.
type span struct {
	name     string
	from, to int // after the name
}

// Lines reads the block of f. f may be nil: nothing is said then, and ok is false. Lines keeps the lines whose names want
// accepts, and no others, so the length of the block does not matter. want is called once for each line, in the order
// of the listing; nil accepts all. report is told what makes no sense.
func (f *Folder) Lines(want func(name string) bool, report func(error)) (l *Lines, ok bool) {
	if f == nil {
		return nil, false
	}
	if f.only != "" {
		want = func(name string) bool { return name == f.only }
	}
	size := f.to - f.from
	l = &Lines{text: make([]byte, 0, min(size, blockSize))}
	lines := bufio.NewScanner(io.NewSectionReader(f.text, f.from, size))
	lines.Buffer(make([]byte, 0, min(size+1, blockSize)), maxLine)
	for n := 0; lines.Scan(); {
		name, rest := cutWord(lines.Bytes())
		if len(name) == 0 || name[0] == '#' {
			continue
		}
		if err := l.line(n, name, rest, want); err != nil {
			report(fmt.Errorf("listing: %w", err))
			if n <= 1 { // nothing is known of the rest without the first two lines
				return nil, false
			}
		}
		n++
	}
	if err := lines.Err(); err != nil {
		report(fmt.Errorf("listing: %w", err))
		return nil, false
	}
	if !slices.IsSortedFunc(l.lines, spansByName) {
		slices.SortStableFunc(l.lines, spansByName)
	}
	if f.only != "" {
		var err error
		if l.Self, ok, err = l.Find(f.only); err != nil {
			report(err)
		}
		return l, ok
	}
	return l, true
}

func spansByName(a, b span) int { return cmp.Compare(a.name, b.name) }

// line takes in line n of the block.
func (l *Lines) line(n int, word, rest []byte, want func(string) bool) error {
	switch n {
	case 0:
		return l.defaults.set(rest)
	case 1:
		l.Self = l.defaults
		return l.Self.set(rest)
	}
	name, err := parseName(word)
	if err != nil || want != nil && !want(name) {
		return err
	}
	from := len(l.text)
	l.text = append(l.text, rest...)
	l.lines = append(l.lines, span{name, from, len(l.text)})
	return nil
}

// Len returns how many lines were kept.
func (l *Lines) Len() int { return len(l.lines) }

// Find returns what the listing says of the file or symbolic link of that name. ok is false if it says nothing. An error
// is what makes no sense in the line. l may be nil.
func (l *Lines) Find(name string) (e Entry, ok bool, err error) {
	if l == nil {
		return e, false, nil
	}
	i := int(l.next.Load()) // nearly always, because names are asked for in order
	if i >= len(l.lines) || l.lines[i].name != name {
		i, ok = slices.BinarySearchFunc(l.lines, name, func(s span, name string) int { return cmp.Compare(s.name, name) })
		if !ok {
			return e, false, nil
		}
	}
	l.next.Store(int64(i) + 1)
	e = l.defaults
	if err := e.set(l.text[l.lines[i].from:l.lines[i].to]); err != nil {
		return Entry{}, false, fmt.Errorf("listing: %s: %w", store.Quote(name), err)
	}
	return e, e.Kind != 0, nil
}
