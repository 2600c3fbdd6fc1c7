package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"castar/store"
)

// quote returns a name for people to read; see store.Quote.
func quote(name string) string { return store.Quote(name) }

// quoteAll returns names for people to read, joined by a separator.
func quoteAll(names []string, separator string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, separator)
}

// jsonName returns the two JSON fields of a name. JSON strings are Unicode, so if the name is not UTF-8, the second field
// has it in standard base64, and the first has what can be shown of it.
func jsonName(name string) (text, base64Text string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	return strings.ToValidUTF8(name, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(name))
}

// writeJSON writes v as one line. It escapes everything in strings that is not plain, so that a terminal shows the line and
// does not obey it. JSON itself asks only for escapes of control characters below the space.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON returns a line of JSON with escapes for everything that is not plain. Such characters occur only in strings.
func escapeJSON(line []byte) []byte {
	end := len(line) - 1 // a newline
	if bytes.IndexFunc(line[:end], func(r rune) bool { return !store.IsPlain(r) }) < 0 {
		return line
	}
	var b []byte
	for _, r := range string(line[:end]) {
		switch first, second := utf16.EncodeRune(r); {
		case store.IsPlain(r):
			b = utf8.AppendRune(b, r)
		case r >= 0x10000:
			b = fmt.Appendf(b, `\u%04x\u%04x`, first, second)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, line[end])
}

// plainLines passes on one line with each call of Write, as escape returns it.
type plainLines struct {
	w      io.Writer
	escape func(line []byte) []byte // with its newline
}

func (p plainLines) Write(line []byte) (int, error) {
	if _, err := p.w.Write(p.escape(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// plural returns n and the noun, in the plural unless n is 1.
func plural(n uint64, noun string) string {
	switch stem, isY := strings.CutSuffix(noun, "y"); {
	case n == 1:
	case isY:
		noun = stem + "ies"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
