package cmd

import (
	"fmt"
	"io"
	"strings"
	"unicode"
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

// visible writes contents of files to a terminal, so that the terminal obeys nothing in them. It shows a control character
// as ^ and a letter, like cat -v and less. Bytes that are no character, and characters that have no width or change the
// direction of text, become Go escapes. Newlines, tabs, all spaces and the carriage return before a newline stay. Flush
// must follow.
type visible struct {
	w    io.Writer
	rest []byte // an unfinished character, or a carriage return
}

// Write takes any piece of a text.
func (v *visible) Write(p []byte) (int, error) {
	text := append(v.rest, p...)
	n := len(text) - unfinished(text)
	v.rest = append([]byte(nil), text[n:]...)
	if _, err := v.w.Write(appendVisible(nil, text[:n])); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes the rest of the text.
func (v *visible) Flush() error {
	text := appendVisible(nil, v.rest)
	v.rest = nil
	_, err := v.w.Write(text)
	return err
}

// unfinished returns the number of bytes at the end of text whose meaning depends on the next byte.
func unfinished(text []byte) int {
	if len(text) > 0 && text[len(text)-1] == '\r' {
		return 1
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return n
			}
			break
		}
	}
	return 0
}

// appendVisible appends to b what visible writes for text.
func appendVisible(b, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		isEnd := r == '\r' && len(text) > 1 && text[1] == '\n'
		switch {
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || isEnd || store.IsPlain(r) || unicode.In(r, unicode.Zs, unicode.Co):
			b = append(b, text[:size]...)
		case r < ' ' || r == 0x7f:
			b = append(b, '^', byte(r)^0x40)
		default:
			b = append(b, store.Escape(string(r))...)
		}
		text = text[size:]
	}
	return b
}
