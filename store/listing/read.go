package listing

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"castar/store"
)

// maxLine is the length of the longest line that is read, in bytes. Linux allows an attribute 64 KiB, and a file a list
// of attributes as long as that.
const maxLine = 16 << 20

// Folder is a directory of a listing that Open has read. It may be used concurrently.
type Folder struct {
	name     string
	from, to int64 // its block in the text, from its /set line
	folders  []*Folder
	text     io.ReaderAt
}

// Open finds the directories of a listing, and returns its root. It keeps about a hundred bytes for each directory, and
// reads text again when entries are asked for. report is told what makes no sense, with the number of the line; Open
// passes over it. The error is that of text, or says that nothing in it is a listing.
func Open(text io.ReaderAt, size int64, report func(error)) (*Folder, error) {
	o := opener{text: text, report: report}
	lines := bufio.NewScanner(io.NewSectionReader(text, 0, size))
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	lines.Split(o.split)
	for lines.Scan() {
		o.number++
		if err := o.line(lines.Bytes()); err != nil {
			report(fmt.Errorf("listing, line %d: %w", o.number, err))
		}
	}
	o.close(o.next)
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	if o.root == nil {
		return nil, errors.New("listing: it has no root")
	}
	o.root.sort(report)
	return o.root, nil
}

// opener is a call of Open.
type opener struct {
	text   io.ReaderAt
	report func(error)
	number int   // of the line
	at     int64 // where the line begins
	next   int64 // where the next line begins
	root   *Folder
	stack  []*Folder
	block  *Folder // whose block the line belongs to, if any
	set    int64   // where the last /set line began
	isSet  bool    // it was the line before
	lost   int     // directories that made no sense, and that have not ended
}

// split is bufio.ScanLines, and counts.
func (o *opener) split(data []byte, atEOF bool) (advance int, token []byte, err error) {
	advance, token, err = bufio.ScanLines(data, atEOF)
	o.at = o.next
	o.next += int64(advance)
	return advance, token, err
}

// close ends the block that is open.
func (o *opener) close(at int64) {
	if o.block != nil {
		o.block.to = at
		o.block = nil
	}
}

// line takes in one line.
func (o *opener) line(text []byte) error {
	words := bytes.Fields(text)
	switch {
	case len(words) == 0 || words[0][0] == '#':
		return nil
	case string(words[0]) == "/set":
		o.close(o.at)
		o.set, o.isSet = o.at, true
		return nil
	case string(words[0]) == up:
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
	name, err := parseName(words[0])
	if err == nil {
		err = e.set(words[1:])
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
		parent := o.stack[len(o.stack)-1]
		parent.folders = append(parent.folders, f)
	}
	o.block = f
	if isDir {
		o.stack = append(o.stack, f)
	}
	return nil
}

// leave ends a directory.
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
			report(fmt.Errorf("listing: %s stands twice", store.Quote(a.name)))
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

// Lines is what a listing says of a directory itself, and of its files and symbolic links. It may be used concurrently.
type Lines struct {
	Self     Entry
	defaults Entry
	text     []byte
	lines    []span
}

// span is a line and its name.
type span struct {
	name     string
	from, to int // after the name
}

// Lines reads the block of f. f may be nil: nothing is said then, and ok is false. report is told what makes no sense.
func (f *Folder) Lines(report func(error)) (l *Lines, ok bool) {
	if f == nil {
		return nil, false
	}
	l = &Lines{text: make([]byte, f.to-f.from)}
	if _, err := f.text.ReadAt(l.text, f.from); err != nil && err != io.EOF {
		report(fmt.Errorf("listing: %w", err))
		return nil, false
	}
	n := 0 // lines so far
	for at, end := 0, 0; at < len(l.text); at = end + 1 {
		if end = bytes.IndexByte(l.text[at:], '\n') + at; end < at {
			end = len(l.text)
		}
		words := bytes.Fields(l.text[at:end])
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := l.line(n, words, at, end); err != nil {
			report(fmt.Errorf("listing: %w", err))
			if n <= 1 { // nothing is known of the rest without the first two lines
				return nil, false
			}
		}
		n++
	}
	slices.SortStableFunc(l.lines, func(a, b span) int { return cmp.Compare(a.name, b.name) })
	return l, true
}

// line takes in line n of the block, which stands between two offsets.
func (l *Lines) line(n int, words [][]byte, from, to int) error {
	switch n {
	case 0:
		return l.defaults.set(words[1:])
	case 1:
		l.Self = l.defaults
		return l.Self.set(words[1:])
	}
	name, err := parseName(words[0])
	if err != nil {
		return err
	}
	l.lines = append(l.lines, span{name, from + bytes.Index(l.text[from:to], words[0]) + len(words[0]), to})
	return nil
}

// Find returns what the listing says of the file or symbolic link of that name. ok is false if it says nothing. An error
// is what makes no sense in the line. l may be nil.
func (l *Lines) Find(name string) (e Entry, ok bool, err error) {
	if l == nil {
		return e, false, nil
	}
	i, ok := slices.BinarySearchFunc(l.lines, name, func(s span, name string) int { return cmp.Compare(s.name, name) })
	if !ok {
		return e, false, nil
	}
	e = l.defaults
	if err := e.set(bytes.Fields(l.text[l.lines[i].from:l.lines[i].to])); err != nil {
		return Entry{}, false, fmt.Errorf("listing: %s: %w", store.Quote(name), err)
	}
	return e, e.Kind != 0, nil
}
