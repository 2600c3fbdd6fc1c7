package cmd

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"castar/store"
	"castar/store/tree"
)

const (
	// maxPatchFile is the length of the largest file that is compared line by line: some seconds, and a few hundred MB.
	maxPatchFile = 16 << 20
	// binaryHead is how much of a file is searched for a NUL byte, which text does not have. As in git.
	binaryHead = 8000
)

// patch prints a change as git does, so that git apply can make it: a head that says what happened to the file, and the
// lines that differ. Directories have no patch of their own.
func (p *diffPrinter) patch(ctx context.Context, c *tree.Change) error {
	switch {
	case c.Op == tree.Renamed && c.IsDirectory():
		return p.renamedDirectory(ctx, c)
	case c.Op == tree.Retyped:
		if err := p.patch(ctx, &tree.Change{Op: tree.Removed, Path: c.Path, Old: c.Old}); err != nil {
			return err
		}
		return p.patch(ctx, &tree.Change{Op: tree.Added, Path: c.Path, New: c.New})
	case c.IsDirectory():
		return nil
	}
	from := c.From
	if c.Op != tree.Renamed {
		from = c.Path
	}
	p.patchHead(c, from)
	if c.Op == tree.Renamed || c.Op == tree.Executable {
		return nil
	}
	return p.hunks(ctx, c)
}

// renamedDirectory prints the files below a directory that was renamed.
func (p *diffPrinter) renamedDirectory(ctx context.Context, c *tree.Change) error {
	for e, err := range tree.Walk(ctx, p.sides[1].Directories, c.New, -1) {
		if err != nil {
			return fmt.Errorf("%s/%w", quote(c.Path), err)
		}
		if e.Node.Kind != store.KindDirectory {
			p.patchHead(&tree.Change{Op: tree.Renamed, Path: c.Path + "/" + e.Path, Old: e.Node, New: e.Node}, c.From+"/"+e.Path)
		}
	}
	return nil
}

// patchHead prints what stands before the lines of a file.
func (p *diffPrinter) patchHead(c *tree.Change, from string) {
	head := func(format string, args ...any) { p.out.line(p.paint(colorBold, fmt.Sprintf(format, args...))) }
	head("diff --git %s %s", patchName("a/", from), patchName("b/", c.Path))
	switch {
	case c.Old.Kind == 0:
		head("new file mode %s", patchMode(c.New))
	case c.New.Kind == 0:
		head("deleted file mode %s", patchMode(c.Old))
	case c.Op == tree.Renamed:
		head("similarity index 100%%")
		head("rename from %s", patchName("", from))
		head("rename to %s", patchName("", c.Path))
	case patchMode(c.Old) != patchMode(c.New):
		head("old mode %s", patchMode(c.Old))
		head("new mode %s", patchMode(c.New))
	default: // or git apply takes this for the head of what follows, and patch(1) a link for a file
		head("index %s..%s %s", patchIndex(c.Old), patchIndex(c.New), patchMode(c.New))
	}
}

// patchIndex returns what stands for the contents of a file where git has a digest of its own. It is shorter than that, so
// that git does not look for it.
func patchIndex(n store.Node) string {
	d := n.Digest
	if n.Kind == store.KindSymlink {
		d = store.Sum([]byte(n.Target))
	}
	return d.String()[:shortDigits]
}

// patchMode returns the mode that git gives a file.
func patchMode(n store.Node) string {
	switch {
	case n.Kind == store.KindSymlink:
		return "120000"
	case n.Executable:
		return "100755"
	}
	return "100644"
}

// hunks prints the lines that differ, or that they cannot be shown.
func (p *diffPrinter) hunks(ctx context.Context, c *tree.Change) error {
	var texts [2][]byte
	names := [2]string{patchName("a/", c.Path), patchName("b/", c.Path)}
	nodes := [2]store.Node{c.Old, c.New}
	for i := range nodes {
		if nodes[i].Kind == 0 {
			names[i] = "/dev/null"
		}
	}
	for i, n := range nodes {
		switch {
		case n.Kind == 0:
		case n.Kind == store.KindSymlink:
			texts[i] = []byte(n.Target)
		case n.Size > maxPatchFile:
			p.out.line(fmt.Sprintf("Files %s and %s, too large to compare lines, differ", names[0], names[1]))
			return nil
		default:
			var err error
			if texts[i], err = p.sides[i].contents(ctx, c.Path, n); err != nil {
				return fmt.Errorf("%s: %w", quote(c.Path), err)
			}
		}
	}
	for i := range texts {
		if bytes.IndexByte(texts[i][:min(len(texts[i]), binaryHead)], 0) >= 0 {
			p.out.line(fmt.Sprintf("Binary files %s and %s differ", names[0], names[1]))
			return nil
		}
	}
	for i := range names { // so that patch(1) sees where a name with a space ends
		if strings.Contains(names[i], " ") {
			names[i] += "\t"
		}
	}
	p.lines(diff.Diff(names[0], texts[0], names[1], texts[1]))
	return nil
}

// lines prints a unified diff, but for its first line.
func (p *diffPrinter) lines(text []byte) {
	_, text, _ = bytes.Cut(text, []byte("\n"))
	if !p.terminal {
		p.out.Write(text)
		return
	}
	inHead := true
	for line := range bytes.Lines(text) {
		color := ""
		switch {
		case line[0] == '@':
			color, inHead = colorCyan, false
		case inHead:
			color = colorBold
		case line[0] == '+':
			color = colorGreen
		case line[0] == '-':
			color = colorRed
		}
		p.out.line(p.paint(color, string(appendVisible(nil, bytes.TrimSuffix(line, []byte("\n"))))))
	}
}

// patchName returns a path as git prints it in a patch: in quotation marks, with octal escapes for all that is not
// printable ASCII, if there is something to escape. So is one with a directory that ends in a space, behind which git
// 2.39 sees an absolute path. What has no name is called root.
func patchName(prefix, path string) string {
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
