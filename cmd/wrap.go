package cmd

import (
	"strings"
	"unicode/utf8"
)

const (
	// helpColumns is the longest line of a help text.
	helpColumns = 80
	// leastColumns is the narrowest terminal that help texts are wrapped for.
	leastColumns = 40
)

// helpWidth returns how long the lines of the help may be: 80 columns, or as many as the terminal has if those are fewer.
func (e *env) helpWidth() int {
	if columns := columnsOf(e.stdout); columns > 0 {
		return min(helpColumns, max(columns, leastColumns))
	}
	return helpColumns
}

// reflow wraps a help text at width columns. Lines that begin at the margin are a paragraph. An indented line is a row
// of a table if it has two columns, two spaces or more apart, and its second column is wrapped. Lines indented by more
// than four spaces continue the row above. Any other indented line is an example and stays as it is, and so does one
// with a comment in its second column.
func reflow(text string, width int) string {
	var b strings.Builder
	block, at := "", 0 // a paragraph or a row that is being read, and where the second column of the row begins
	flush := func() {
		if block != "" {
			writeRow(&b, block[:at], block[at:], width)
		}
		block, at = "", 0
	}
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		words := strings.TrimLeft(line, " ")
		indent := len(line) - len(words)
		switch second := secondColumn(line); {
		case at > 0 && indent > 4:
			block += " " + words
		case second > 0:
			flush()
			block, at = line, second
		case indent > 0 || line == "":
			flush()
			b.WriteString(line + "\n")
		default:
			if at > 0 {
				flush()
			}
			block = strings.TrimPrefix(block+" "+line, " ")
		}
	}
	flush()
	return b.String()
}

// writeRow writes a row of a table: term, which is as long as its column, and text wrapped beside it. If term takes more
// than half of the width, text stands below.
func writeRow(b *strings.Builder, term, text string, width int) {
	indent := strings.Repeat(" ", len(term))
	if term != "" && len(term) > width/2 {
		b.WriteString(strings.TrimRight(term, " ") + "\n")
		indent = "        "
		term = indent
	}
	for _, line := range wrap(text, width-len(indent)) {
		b.WriteString(term + line + "\n")
		term = indent
	}
}

// secondColumn returns where the second column of a line begins, or 0 if it is not indented, or has no second column but a
// comment.
func secondColumn(line string) int {
	text := strings.TrimLeft(line, " ")
	end := strings.Index(text, "  ")
	if end < 0 || text == line {
		return 0
	}
	second := strings.TrimLeft(text[end:], " ")
	if strings.HasPrefix(second, "#") {
		return 0
	}
	return len(line) - len(second)
}

// wrap breaks text between words into lines of up to width columns.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
