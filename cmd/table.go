package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"
)

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
