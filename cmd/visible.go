package cmd

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"castar/store"
)

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
