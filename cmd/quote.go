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

// quote returns a name as people should see it; see store.Quote.
func quote(name string) string { return store.Quote(name) }

// quoteAll returns names, joined by a separator, as people should see them.
func quoteAll(names []string, separator string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, separator)
}

// jsonName returns the two fields in which JSON carries a name: JSON strings are Unicode, so a name that is not UTF-8
// stands in the second, in standard base64, and the first shows what can be shown of it.
func jsonName(name string) (text, base64Text string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	return strings.ToValidUTF8(name, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(name))
}

// writeJSON writes v as one line. What is not plain in its strings is escaped, so that whoever shows the line on a terminal
// sees it and is not misled: JSON asks for that of the controls below a space only.
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

// escapeJSON returns a line of JSON with escapes for all that is not plain; outside its strings there is no such thing.
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

// plainLines passes lines on, one a call, each as escape returns it.
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
