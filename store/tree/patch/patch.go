// Package patch writes the changes between two trees as a patch that git apply takes.
package patch

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"castar/store"
	"castar/store/tree"
)

const (
	// maxFile is the size of the largest file that is compared line by line: some seconds, and a few hundred MB.
	maxFile = 16 << 20
	// binaryHead is how much of a file is searched for a NUL byte, which text does not have. As in git.
	binaryHead = 8000
	// indexDigits is how much of a digest stands in an index line. It is shorter than a digest of git, so git does not
	// look for it.
	indexDigits = 16
)

// Part says what a line of a patch is, for a reader who colors it.
type Part int

// The parts of a patch.
const (
	Text    Part = iota // an unchanged line, or a note that contents differ
	Head                // says which file changed, and how
	Hunk                // says which lines follow
	Added               // a line of the new file
	Removed             // a line of the old file
)

// A Writer writes changes, as package tree finds them. All fields are required.
type Writer struct {
	// New has the directories of the new tree.
	New store.Directories
	// Contents returns the contents of the file n at path, in the old tree (side 0) or in the new one (side 1).
	Contents func(ctx context.Context, side int, path string, n store.Node) ([]byte, error)
	// Line takes each line, without its newline. It must not keep the bytes.
	Line func(part Part, line []byte)
}

// Change writes one change: a head that says what happened to the file, and the lines that differ. A directory has no
// patch of its own, so one that was added or removed must be followed by changes of the files in it; see
// tree.DiffOptions.Recursive.
func (w *Writer) Change(ctx context.Context, c *tree.Change) error {
	switch {
	case c.Op == tree.Renamed && c.IsDirectory():
		return w.renamedDirectory(ctx, c)
	case c.Op == tree.Retyped:
		if err := w.Change(ctx, &tree.Change{Op: tree.Removed, Path: c.Path, Old: c.Old}); err != nil {
			return err
		}
		return w.Change(ctx, &tree.Change{Op: tree.Added, Path: c.Path, New: c.New})
	case c.IsDirectory():
		return nil
	}
	w.head(c, cmp.Or(c.From, c.Path))
	if c.Op == tree.Renamed || c.Op == tree.Executable {
		return nil
	}
	return w.contents(ctx, c)
}

// renamedDirectory writes a rename for each file below a renamed directory.
func (w *Writer) renamedDirectory(ctx context.Context, c *tree.Change) error {
	for e, err := range tree.Walk(ctx, w.New, c.New, -1) {
		if err != nil {
			return fmt.Errorf("%s/%w", store.Quote(c.Path), err)
		}
		if e.Node.Kind != store.KindDirectory {
			w.head(&tree.Change{Op: tree.Renamed, Path: c.Path + "/" + e.Path, Old: e.Node, New: e.Node}, c.From+"/"+e.Path)
		}
	}
	return nil
}

// head writes the lines before the contents of a file.
func (w *Writer) head(c *tree.Change, from string) {
	line := func(format string, args ...any) { w.Line(Head, fmt.Appendf(nil, format, args...)) }
	line("diff --git %s %s", quote("a/", from), quote("b/", c.Path))
	switch {
	case c.Old.Kind == 0:
		line("new file mode %s", mode(c.New))
	case c.New.Kind == 0:
		line("deleted file mode %s", mode(c.Old))
	case c.Op == tree.Renamed:
		line("similarity index 100%%")
		line("rename from %s", quote("", from))
		line("rename to %s", quote("", c.Path))
	case mode(c.Old) != mode(c.New):
		line("old mode %s", mode(c.Old))
		line("new mode %s", mode(c.New))
	default: // without it, git apply takes the first line for the head of the next file, and patch(1) a link for a file
		line("index %s..%s %s", index(c.Old), index(c.New), mode(c.New))
	}
}

// index returns what stands for the contents of a file where git has a digest of its own.
func index(n store.Node) string {
	d := n.Digest
	if n.Kind == store.KindSymlink {
		d = store.Sum([]byte(n.Target))
	}
	return d.String()[:indexDigits]
}

// mode returns the mode that git gives a file.
func mode(n store.Node) string {
	switch {
	case n.Kind == store.KindSymlink:
		return "120000"
	case n.Executable:
		return "100755"
	}
	return "100644"
}

// contents writes the lines that differ, or a note that they cannot be shown.
func (w *Writer) contents(ctx context.Context, c *tree.Change) error {
	var texts [2][]byte
	names := [2]string{quote("a/", c.Path), quote("b/", c.Path)}
	nodes := [2]store.Node{c.Old, c.New}
	for i, n := range nodes {
		if n.Kind == 0 {
			names[i] = "/dev/null"
		}
	}
	for i, n := range nodes {
		switch {
		case n.Kind == 0:
		case n.Kind == store.KindSymlink:
			texts[i] = []byte(n.Target)
		case n.Size > maxFile:
			// git apply knows such lines by their first word and their last.
			w.Line(Text, fmt.Appendf(nil, "Files %s and %s, too large to compare lines, differ", names[0], names[1]))
			return nil
		default:
			var err error
			if texts[i], err = w.Contents(ctx, i, c.Path, n); err != nil {
				return fmt.Errorf("%s: %w", store.Quote(c.Path), err)
			}
		}
	}
	for i := range texts {
		if bytes.IndexByte(texts[i][:min(len(texts[i]), binaryHead)], 0) >= 0 {
			w.Line(Text, fmt.Appendf(nil, "Binary files %s and %s differ", names[0], names[1]))
			return nil
		}
	}
	for i := range names { // a tab shows patch(1) where a name with a space ends
		if strings.Contains(names[i], " ") {
			names[i] += "\t"
		}
	}
	w.hunks(diff.Diff(names[0], texts[0], names[1], texts[1]))
	return nil
}

// hunks writes a unified diff, except its first line.
func (w *Writer) hunks(text []byte) {
	_, text, _ = bytes.Cut(text, []byte("\n"))
	inHead := true
	for line := range bytes.Lines(text) {
		part := Text
		switch {
		case line[0] == '@':
			part, inHead = Hunk, false
		case inHead:
			part = Head
		case line[0] == '+':
			part = Added
		case line[0] == '-':
			part = Removed
		}
		w.Line(part, bytes.TrimSuffix(line, []byte("\n")))
	}
}

// quote returns a path as git prints it in a patch: in quotation marks, with octal escapes for everything but printable
// ASCII, if there is something to escape. A path with a directory whose name ends in a space is quoted too, because git
// 2.39 takes what follows the space for an absolute path. A tree that is one file has no path, and is called root.
func quote(prefix, path string) string {
	if path == "" {
		path = "root"
	}
	path = prefix + path
	var b strings.Builder
	for i := range len(path) {
		switch c := path[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	if quoted := b.String(); quoted != path || strings.Contains(path, " /") {
		return `"` + quoted + `"`
	}
	return path
}
