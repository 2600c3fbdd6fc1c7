package cmd

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quote returns a name as people should see it: unchanged where it is plain text, otherwise as a quoted Go string, so
// that no name can forge a line, move a cursor or hide that it has a space at its end.
func quote(name string) string {
	if isPlain(name) {
		return name
	}
	if name == "" || escape(name) != name || strings.ContainsAny(name, `"\`) || strings.TrimSpace(name) != name {
		return strconv.Quote(name)
	}
	return name
}

// isPlain reports whether name is such that quote need not look closer: most names are.
func isPlain(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return name != ""
}

// escape returns text, such as a message with a file name in it, with every byte that is not printable UTF-8 as a Go
// escape. Unlike quote it adds no quotation marks.
func escape(text string) string {
	ok := func(r rune, size int) bool { return unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) }
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if ok(r, size) {
			b.WriteString(text[i : i+size])
		} else {
			q := strconv.Quote(text[i : i+size])
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}

// jsonName returns the two fields in which JSON carries a name: JSON strings are Unicode, so a name that is not UTF-8
// stands in the second, in standard base64, and the first shows what can be shown of it.
func jsonName(name string) (text, base64Text string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	return strings.ToValidUTF8(name, "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(name))
}
