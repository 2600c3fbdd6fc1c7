package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"

	"castar/store"
	"castar/store/tree"
)

// linePrinter is a result of many lines on its way to stdout.
type linePrinter struct {
	*bufio.Writer
	end byte // of a line
	nul bool // names are printed as they are

	columns int          // of the terminal, or 0
	memory  bytes.Buffer // of json
}

// newLinePrinter returns a linePrinter for stdout; with nul, its lines end in NUL and its names are raw. It must be flushed.
func (e *env) newLinePrinter(nul bool) *linePrinter {
	l := &linePrinter{Writer: bufio.NewWriterSize(e.stdout, 64<<10), end: '\n', nul: nul, columns: columnsOf(e.stdout)}
	if nul {
		l.end = 0
	}
	return l
}

// name returns a path as this printer prints it. A directory ends in a slash, and the root is a dot.
func (l *linePrinter) name(path string, isDir bool) string {
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

func (l *linePrinter) line(text string) {
	l.WriteString(text)
	l.WriteByte(l.end)
}

func (l *linePrinter) json(v jsonLine) { _ = writeJSONBy(&l.memory, l, v) } // stdout remembers

// walk calls do for each entry of tree.Walk or tree.Search. If something cannot be read, it names it on stderr and returns
// errPartial in the end. A server that fails ends it.
func (e *env) walk(ctx context.Context, entries iter.Seq2[tree.Entry, error], do func(tree.Entry)) error {
	damaged := false
	for entry, err := range entries {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case e.stdout.err != nil:
			return e.stdout.err
		case err != nil && entry.Depth == 0, errors.Is(err, store.ErrTooDeep), store.IsServerError(err):
			return err // there is nothing else to list, or too much
		case err != nil:
			damaged = true
			e.warn(err.Error())
		default:
			do(entry)
		}
	}
	return partly(nil, damaged)
}

func (e *env) isTerminal() bool { return isTerminal(e.stdout.w) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (e *env) wantsColor() bool {
	return e.isTerminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// table is rows on their way to stdout. Cells end in tabs. On a terminal that is too narrow for the columns, each row
// becomes several lines: its first cell, and the others indented, with the names that the first row gives them.
type table struct {
	w    io.Writer
	text strings.Builder
}

// newTable returns a table. It must be flushed.
func newTable(w io.Writer) *table { return &table{w: w} }

func (t *table) Write(p []byte) (int, error) { return t.text.Write(p) }

// Flush writes the rows.
func (t *table) Flush() error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	io.WriteString(w, t.text.String())
	w.Flush()
	text, columns := b.String(), columnsOf(t.w)
	for line := range strings.Lines(text) {
		if columns > 0 && utf8.RuneCountInString(strings.TrimRight(line, " \n")) > columns {
			text = narrow(t.text.String())
			break
		}
	}
	_, err := io.WriteString(t.w, text)
	return err
}

// rows is results on their way to stdout: a table, or with --json an object for each row.
type rows struct {
	*table
	json   func(jsonLine) // nil without --json
	header string         // above the first row of the table
}

// newRows returns rows, which must be flushed. The cells of header, which may be "", have tabs between them.
func (e *env) newRows(header string) *rows {
	r := &rows{table: newTable(e.stdout), header: header}
	if e.json {
		r.json = e.stdout.json
	}
	return r
}

// row prints a result: v with --json, and otherwise cells.
func (r *rows) row(v jsonLine, cells ...string) {
	if r.json != nil {
		r.json(v)
		return
	}
	if r.header != "" {
		fmt.Fprintln(r, r.header)
	}
	r.header = ""
	fmt.Fprintln(r, strings.Join(cells, "\t"))
}

// narrow returns rows as lines for each cell.
func narrow(rows string) string {
	var b strings.Builder
	var names []string
	for row := range strings.Lines(rows) {
		cells := strings.Split(strings.TrimRight(row, "\n"), "\t")
		if names == nil {
			names = make([]string, len(cells))
			if strings.ToUpper(cells[0]) == cells[0] && strings.Trim(row, "ABCDEFGHIJKLMNOPQRSTUVWXYZ\t\n") == "" {
				copy(names, cells)
				continue
			}
		}
		fmt.Fprintln(&b, cells[0])
		for i, cell := range cells[1:] {
			name := ""
			if i+1 < len(names) && names[i+1] != "" {
				name = strings.ToLower(names[i+1]) + " "
			}
			if cell != "" {
				fmt.Fprintln(&b, "  "+name+cell)
			}
		}
	}
	return b.String()
}

// columnsOf returns how many columns the terminal behind w has, or 0 if w is none.
func columnsOf(w io.Writer) int {
	switch to := w.(type) {
	case *output:
		return columnsOf(to.w)
	case *linePrinter:
		return to.columns
	case *os.File:
		if columns, _, err := term.GetSize(int(to.Fd())); err == nil {
			return columns
		}
	}
	return 0
}
