package store

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsPlain reports whether r is safe to print: it is visible or an ASCII space, and does not change the text around it.
// Control characters, direction marks, other spaces, and characters without width or ink are not plain.
func IsPlain(r rune) bool {
	if r < utf8.RuneSelf {
		return ' ' <= r && r <= '~'
	}
	return unicode.IsPrint(r) && !isInvisible(r)
}

// isInvisible reports whether r shows nothing although Unicode calls it a letter, a mark or a symbol.
func isInvisible(r rune) bool {
	switch r {
	case 0x2800, 0x16FE4, 0x1D159: // a pattern of no dots, a filler, a note without head
		return true
	}
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Quote returns a name in printable form: unchanged if it is plain text, otherwise as a quoted Go string. So no name
// can forge a line, move the cursor or hide a trailing space.
func Quote(name string) string {
	if isPlainWord(name) {
		return name
	}
	escaped := Escape(name)
	if name != "" && escaped == name && !strings.ContainsAny(name, `"\`) && strings.TrimSpace(name) == name {
		return name
	}
	return `"` + Escape(strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(name)) + `"`
}

// JSONName returns a name for a JSON string, which is Unicode, and for a second one. If the name is UTF-8, the first is
// the name and the second is "". Otherwise the first is what can be shown of it, and the second is all of it in standard
// base64.
func JSONName(name string) (text, base64Text string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	return strings.ToValidUTF8(name, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(name))
}

// HumanBytes returns a number of bytes in binary units, with about three digits.
func HumanBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	if n == math.MaxUint64 { // sums stop here
		return "16 EiB or more"
	}
	value, units := float64(n)/1024, "KMGTPE"
	for value >= 1023.95 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}

// isPlainWord is a fast test for names that need no quotes. Most names pass it.
func isPlainWord(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}

// Escape returns text, such as a message with a file name in it, with a Go escape for everything that is not plain:
// \x1b for a byte, \u202e for a character. Unlike Quote it adds no quotation marks.
func Escape(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !IsPlain(r) || r == utf8.RuneError }) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		piece := text[:size]
		if invalid := r == utf8.RuneError && size == 1; invalid || !IsPlain(r) {
			piece = strings.Trim(strconv.QuoteToASCII(piece), `"`)
		}
		b.WriteString(piece)
		text = text[size:]
	}
	return b.String()
}

// longestPath is the length of the longest path that ShortPath returns whole, in bytes. System calls take shorter ones.
const longestPath = 4096

// ShortPath returns a path for an error message. It leaves out the middle of a path that is too long for a system call.
func ShortPath(path string) string { return shorten(path, longestPath) }

// ShortMessage returns the text of an error. It leaves out the middle of a text that is longer than a few paths.
func ShortMessage(text string) string { return shorten(text, 4*longestPath) }

// shorten leaves out the middle of a text that is longer than most bytes. It cuts between characters.
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
