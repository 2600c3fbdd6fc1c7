package cmd

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shellWord is a word of bash's command line, as far as it was typed.
type shellWord struct {
	value string // without quotes
	open  string // the quote that is not closed: " or ' or $', or ""
	tail  int    // where in the word the part begins that bash's line editor replaces: after the last quote
	until int    // the length of value up to tail
	code  bool   // it has unquoted characters that end a word or run a command
}

// parseWord removes the quotes of a word. It expands nothing.
func parseWord(text string) shellWord {
	var w shellWord
	var b strings.Builder
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case w.open == "" && (c == '"' || c == '\'' || strings.HasPrefix(text[i:], "$'")):
			w.open = text[i : i+1]
			if c == '$' {
				w.open = "$'"
			}
			i += len(w.open)
			w.tail, w.until = i, b.Len()
			continue
		case w.open != "" && c == w.open[len(w.open)-1]:
			w.open = ""
			w.tail, w.until = i+1, b.Len()
		case c == '\\' && w.open == "$'":
			n, char := ansiEscape(text[i:])
			b.WriteString(char)
			i += n
			continue
		case c == '\\' && (w.open == "" || w.open == `"`):
			if i+1 == len(text) {
				break // the character that it quotes has not been typed yet
			}
			if w.open != "" && !strings.ContainsRune("$`\"\\\n", rune(text[i+1])) {
				b.WriteByte(c)
			}
			i++
			b.WriteByte(text[i])
		default:
			w.code = w.code || w.open == "" && strings.IndexByte("`();&|<>", c) >= 0
			b.WriteByte(c)
		}
		i++
	}
	w.value = b.String()
	return w
}

// ansiEscape returns the length and the meaning of the escape at the beginning of text. It knows those that quoteANSI
// writes.
func ansiEscape(text string) (n int, char string) {
	end := 1
	for end < len(text) && end < 4 && '0' <= text[end] && text[end] <= '7' {
		end++
	}
	switch {
	case end > 1:
		var c byte
		for _, digit := range []byte(text[1:end]) {
			c = c*8 + digit - '0'
		}
		return end, string([]byte{c})
	case len(text) == 1:
		return 1, ""
	}
	return 2, text[1:2]
}

// quoteBash returns text as a word, or as the rest of one, that bash reads as text. open is the quote that the word has
// opened; the result closes it.
func quoteBash(text, open string) string {
	switch {
	case open == "$'":
		return "'" + quoteANSI(text) + "'"
	case open == "'":
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	case open == `"`:
		// A backslash before ! would stay, and without one bash would look up its history.
		return `"` + strings.NewReplacer("$", `\$`, "`", "\\`", `"`, `\"`, `\`, `\\`, "!", `"\!"`).Replace(text) + `"`
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "$'" + quoteANSI(text) + "'"
	}
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < utf8.RuneSelf && !isWordByte(c) {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// isWordByte reports whether an ASCII byte means itself to every shell, anywhere in a word.
func isWordByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_-./,+@:=%", c) >= 0
}

// quoteANSI returns text as it is written in $'...'. It is safe in '...' too.
func quoteANSI(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if part := text[i : i+size]; unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) && r != '\'' && r != '\\' {
			b.WriteString(part)
		} else {
			for _, c := range []byte(part) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		}
		i += size
	}
	return b.String()
}

// bashLine is a command line that is being typed in bash.
type bashLine struct {
	before []string // the words before the last, without quotes, from the program's name on
	last   shellWord
	stays  string // the part of last that bash does not replace
}

// readBashLine makes words of COMP_WORDS up to the cursor. For completion, bash cuts words at more places than it does to
// run them, such as colons. line is COMP_LINE up to the cursor, which tells what was cut, or "".
func readBashLine(line string, words []string) bashLine {
	var typed []string
	typedLast, known := "", line != ""
	for i, word := range words {
		rest := strings.TrimLeft(line, " \t\n")
		apart := len(rest) < len(line)
		switch {
		case !known:
			apart = i == 0 || !isBreak(word) && !isBreak(words[i-1])
		case strings.HasPrefix(rest, word):
			line = rest[len(word):]
		case i == len(words)-1 && strings.HasPrefix(word, rest):
			word = rest // the cursor is in it
		default:
			return readBashLine("", words) // it is another line
		}
		if typedLast = word; i == 0 || apart || len(typed) == 0 {
			typed = append(typed, word)
		} else {
			typed[len(typed)-1] += word
		}
	}
	var l bashLine
	for i, word := range typed {
		w := parseWord(word)
		if i < len(typed)-1 {
			if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(word, "~/") {
				w.value = home + w.value[1:]
			}
			l.before = append(l.before, w.value)
			continue
		}
		l.last = w
		cut := len(word) // the length of word before the last of bash's words
		if !isBreak(typedLast) || typedLast[0] == '@' {
			cut -= len(typedLast)
		}
		if strings.HasSuffix(word[:cut], "@") { // bash takes it for the beginning of a host's name
			cut--
		}
		l.stays = parseWord(word[:cut]).value
		if w.tail > cut {
			l.stays = w.value[:w.until]
		}
	}
	return l
}

// isBreak reports whether a word of COMP_WORDS only separates others.
func isBreak(word string) bool { return word != "" && strings.Trim(word, ":=@") == "" }

// reply returns a candidate for COMPREPLY.
func (l bashLine) reply(candidate string) string {
	return quoteBash(strings.TrimPrefix(candidate, l.stays), l.last.open)
}
