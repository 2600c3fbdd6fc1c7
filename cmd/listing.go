package cmd

import (
	"bufio"
	"context"
	"errors"
	"iter"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"castar/store"
	"castar/store/tree"
)

// listing is a result of many lines on its way to stdout.
type listing struct {
	*bufio.Writer
	end byte // of a line
	nul bool // names are printed as they are
}

// newListing returns a listing; with nul, its lines end in NUL and its names are raw. It must be flushed.
func (e *env) newListing(nul bool) *listing {
	l := &listing{Writer: bufio.NewWriterSize(e.stdout, 64<<10), end: '\n', nul: nul}
	if nul {
		l.end = 0
	}
	return l
}

// name returns a path as this listing prints it. A directory ends in a slash, and the root is a dot.
func (l *listing) name(path string, isDir bool) string {
	switch {
	case path == "":
		path = "."
	case isDir:
		path += "/"
	}
	if l.nul {
		return path
	}
	return quote(path)
}

// line writes text as one line.
func (l *listing) line(text string) {
	l.WriteString(text)
	l.WriteByte(l.end)
}

// json writes v as one line.
func (l *listing) json(v any) { _ = writeJSON(l, v) } // stdout remembers

// jsonNode is what JSON says of a node.
type jsonNode struct {
	Kind         string `json:"kind"`                    // directory, file or symlink
	Size         uint64 `json:"size"`                    // file: bytes; directory: entries in all, as recorded; symlink: 0
	Executable   bool   `json:"executable,omitempty"`    // of a file
	Digest       string `json:"digest,omitempty"`        // 64 hexadecimal digits; a symlink has none
	Target       string `json:"target,omitempty"`        // of a symlink
	TargetBase64 string `json:"target_base64,omitempty"` // if that is not UTF-8
}

func newJSONNode(n store.Node) jsonNode {
	j := jsonNode{Kind: n.Kind.String(), Size: n.Size, Executable: n.Executable}
	if n.Kind == store.KindSymlink {
		j.Target, j.TargetBase64 = jsonName(n.Target)
	} else {
		j.Digest = n.Digest.String()
	}
	return j
}

// jsonEntry is a line of castar ls --json and castar find --json.
type jsonEntry struct {
	Path       string `json:"path"`                  // below what was asked for
	PathBase64 string `json:"path_base64,omitempty"` // if that is not UTF-8
	jsonNode
}

func newJSONEntry(path string, n store.Node) jsonEntry {
	j := jsonEntry{jsonNode: newJSONNode(n)}
	j.Path, j.PathBase64 = jsonName(path)
	return j
}

// walk calls do for each entry of tree.Walk or tree.Search. If something cannot be read, it names it on stderr and returns
// errPartial in the end.
func (e *env) walk(ctx context.Context, command string, entries iter.Seq2[tree.Entry, error], do func(tree.Entry)) error {
	damaged := false
	for entry, err := range entries {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case e.stdout.err != nil:
			return e.stdout.err
		case err != nil && entry.Depth == 0, errors.Is(err, store.ErrTooDeep):
			return err // there is nothing else to list, or too much
		case err != nil:
			damaged = true
			e.warn(command, err.Error())
		default:
			do(entry)
		}
	}
	if damaged {
		return errPartial
	}
	return nil
}

// nullFlag returns -z.
func nullFlag(to *bool) cli.Flag {
	return boolFlag("null", "z", to, "end lines with NUL, and print names unchanged")
}

// isTerminal reports whether stdout is a terminal.
func (e *env) isTerminal() bool {
	f, ok := e.stdout.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantsColor reports whether stdout may have colors.
func (e *env) wantsColor() bool {
	return e.isTerminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
