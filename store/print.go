package store

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsPlain reports whether r may be shown to people as it is: whether it can be seen, or is a space, and does nothing to
// the text around it. Controls, marks of direction, spaces other than that of ASCII, and whatever has no width or no ink
// are not plain.
func IsPlain(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r <= '~'
	}
	return unicode.IsPrint(r) && !isInvisible(r)
}

// isInvisible reports whether r shows nothing although it is a letter, a mark or a symbol to Unicode.
func isInvisible(r rune) bool {
	switch r {
	case 0x2800, 0x16FE4, 0x1D159: // a pattern of no dots, a filler, a note without head
		return true
	}
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Quote returns a name as people should see it: unchanged where it is plain text, otherwise as a quoted Go string, so
// that no name can forge a line, move a cursor or hide that it has a space at its end.
func Quote(name string) string {
	if isPlainWord(name) {
		return name
	}
	escaped := Escape(name)
	if name != "" && escaped == name && !strings.ContainsAny(name, `"\`) && strings.TrimSpace(name) == name {
		return name
	}
	// A byte below 0x80 that Escape left alone is itself in a Go string, but for these two.
	var b strings.Builder
	b.WriteByte('"')
	for len(name) > 0 {
		_, size := utf8.DecodeRuneInString(name)
		if name[0] == '"' || name[0] == '\\' {
			b.WriteByte('\\')
			b.WriteByte(name[0])
		} else {
			b.WriteString(Escape(name[:size]))
		}
		name = name[size:]
	}
	b.WriteByte('"')
	return b.String()
}

// isPlainWord reports whether name is such that Quote need not look closer: most names are.
func isPlainWord(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}

// Escape returns text, such as a message with a file name in it, with all that is not plain as Go escapes: \x1b for a
// byte, \u202e for a character. Unlike Quote it adds no quotation marks.
func Escape(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !IsPlain(r) || r == utf8.RuneError }) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		b.WriteString(escapeRune(r, text[:size]))
		text = text[size:]
	}
	return b.String()
}

// escapeRune returns r, which is encoded as text, or its escape. One byte that is no character is utf8.RuneError.
func escapeRune(r rune, text string) string {
	switch {
	case r == utf8.RuneError && len(text) == 1:
		return fmt.Sprintf(`\x%02x`, text[0])
	case IsPlain(r):
		return text
	case unicode.IsPrint(r) && r < 0x10000: // strconv would not escape it
		return fmt.Sprintf(`\u%04x`, r)
	case unicode.IsPrint(r):
		return fmt.Sprintf(`\U%08x`, r)
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// longestPath is the length of the longest path that ShortPath returns whole, in bytes: no system call takes one as long.
const longestPath = 4096

// ShortPath returns a path as errors name it. The middle of one that is longer than any that a system call takes is
// left out.
func ShortPath(path string) string { return shorten(path, longestPath) }

// ShortMessage returns the text of an error, without its middle where that is longer than a few paths.
func ShortMessage(text string) string { return shorten(text, 4*longestPath) }

// shorten returns the first and the last bytes of text where it is longer than most, cut between characters.
func shorten(text string, most int) string {
	const kept = 100 // at each end
	if len(text) <= most {
		return text
	}
	from, to := kept, len(text)-kept
	for from > kept-utf8.UTFMax && !utf8.RuneStart(text[from]) {
		from--
	}
	for to < len(text)-kept+utf8.UTFMax && !utf8.RuneStart(text[to]) {
		to++
	}
	return fmt.Sprintf("%s…(%d bytes)…%s", text[:from], to-from, text[to:])
}
