package ignore

import "strings"

// glob is a compiled pattern: text that begins with prefix, ends with suffix, and between them matches the elements.
// Most patterns are one of name, *.suffix and prefix*, and need no more than two comparisons of strings.
type glob struct {
	prefix, suffix string
	middle         []element
}

// element matches a part of a text.
type element struct {
	kind kind
	char byte    // of a literal
	set  byteSet // what a one matches
}

type kind uint8

const (
	literal kind = iota // its char
	one                 // one byte of the set
	star                // any bytes but slashes
	deep                // any bytes
	dirs                // nothing, or any bytes and a slash after them
)

// byteSet is a set of bytes, a bit each.
type byteSet [4]uint64

func (s *byteSet) add(c byte)           { s[c/64] |= 1 << (c % 64) }
func (s *byteSet) remove(c byte)        { s[c/64] &^= 1 << (c % 64) }
func (s *byteSet) contains(c byte) bool { return s[c/64]&(1<<(c%64)) != 0 }

func (s *byteSet) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c))
	}
}

func (s *byteSet) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// compile reads a pattern without what stands before and after it: no !, no slash at either end. It is not ok if the
// pattern can match nothing.
//
// As in git, the text before the first special character is cut off before the rest is read, so a ** right after it
// stands at the start of something: foo**/bar means foo, then **/bar.
func compile(p string) (g glob, ok bool) {
	wild := strings.IndexAny(p, `*?[\`)
	if wild < 0 {
		return glob{prefix: p}, p != ""
	}
	var elements []element
	for i := wild; i < len(p); {
		e, n := parseElement(p[i:], i == wild || p[i-1] == '/')
		if n == 0 {
			return glob{}, false
		}
		elements = append(elements, e)
		i += n
	}
	start, end := 0, len(elements)
	for start < end && elements[start].kind == literal {
		start++
	}
	for start < end && elements[end-1].kind == literal {
		end--
	}
	return glob{
		prefix: p[:wild] + literals(elements[:start]),
		middle: elements[start:end:end],
		suffix: literals(elements[end:]),
	}, true
}

func literals(elements []element) string {
	b := make([]byte, len(elements))
	for i := range elements {
		b[i] = elements[i].char
	}
	return string(b)
}

// parseElement reads the element that p begins with, and returns it and its length, which is 0 if it is malformed.
// atStart says that nothing, or a slash, is before it.
func parseElement(p string, atStart bool) (e element, n int) {
	switch p[0] {
	case '*':
		e.kind, n = parseStars(p, atStart)
	case '?':
		e.kind, n = one, 1
		e.set.invert()
	case '[':
		e.kind = one
		e.set, n = parseSet(p)
	default:
		e.char, n = member(p, 0)
	}
	e.set.remove('/') // only a literal matches a slash
	return e, n
}

// parseStars reads the stars that p begins with. Two or more are special only if they are all that stands between
// slashes, or the ends; atStart says that they are so on the left.
func parseStars(p string, atStart bool) (k kind, n int) {
	rest := strings.TrimLeft(p, "*")
	n = len(p) - len(rest)
	switch {
	case n == 1 || !atStart:
		return star, n
	case rest == "" || strings.HasPrefix(rest, `\/`):
		return deep, n
	case rest[0] == '/':
		return dirs, n + 1
	}
	return star, n
}

// parseSet reads the bracket expression that p begins with, and returns what it matches and its length, which is 0 if it
// is malformed: not closed, or with an unknown class.
func parseSet(p string) (set byteSet, n int) {
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	before := -1 // the byte that may begin a range, or -1
	for first := i; ; {
		switch {
		case i >= len(p):
			return set, 0
		case p[i] == ']' && i > first:
			if negated {
				set.invert()
			}
			return set, i + 1
		case p[i] == '-' && before >= 0 && i+1 < len(p) && p[i+1] != ']':
			c, next := member(p, i+1)
			if next == 0 {
				return set, 0
			}
			set.addRange(byte(before), c)
			before, i = -1, next
		case strings.HasPrefix(p[i:], "[:"):
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return set, 0
			}
			if name, ok := strings.CutSuffix(p[i+2:i+2+end], ":"); ok {
				if !set.addClass(name) {
					return set, 0
				}
				before, i = -1, i+2+end+1
				continue
			}
			fallthrough // without :] it is a [ like others
		default:
			c, next := member(p, i)
			if next == 0 {
				return set, 0
			}
			set.add(c)
			before, i = int(c), next
		}
	}
}

// member reads the byte at p[i], or the one after it if that is a backslash, and returns where the next is, or 0 if
// there is none to read.
func member(p string, i int) (c byte, next int) {
	if p[i] == '\\' {
		i++
	}
	if i >= len(p) {
		return 0, 0
	}
	return p[i], i + 1
}

// addClass adds the bytes of a POSIX class in the C locale. As in git, vertical tab and form feed are no space.
func (s *byteSet) addClass(name string) bool {
	const (
		digits = "09"
		lower  = "az"
		upper  = "AZ"
		punct  = "!/:@[`{~"
	)
	ranges, ok := map[string]string{ // pairs of the first and the last
		"alnum":  digits + lower + upper,
		"alpha":  lower + upper,
		"blank":  "\t\t  ",
		"cntrl":  "\x00\x1f\x7f\x7f",
		"digit":  digits,
		"graph":  "!~",
		"lower":  lower,
		"print":  " ~",
		"punct":  punct,
		"space":  "\t\n\r\r  ",
		"upper":  upper,
		"xdigit": digits + "afAF",
	}[name]
	for ; len(ranges) > 1; ranges = ranges[2:] {
		s.addRange(ranges[0], ranges[1])
	}
	return ok
}

// last returns the byte that whatever g matches ends with, or 0 if there is no such byte.
func (g *glob) last() byte {
	end := g.suffix
	if len(g.middle) == 0 {
		end = g.prefix
	}
	if end == "" {
		return 0
	}
	return end[len(end)-1]
}

// match reports whether g matches the whole of text, and in how many steps it found out. They are at most about
// len(text) times the length of the pattern.
func (g *glob) match(text string) (ok bool, steps int) {
	if len(g.middle) == 0 {
		return text == g.prefix, 1
	}
	if len(text) < len(g.prefix)+len(g.suffix) || !strings.HasPrefix(text, g.prefix) || !strings.HasSuffix(text, g.suffix) {
		return false, 1
	}
	text = text[len(g.prefix) : len(text)-len(g.suffix)]
	if len(g.middle) == 1 && g.middle[0].kind == star {
		return strings.IndexByte(text, '/') < 0, 1
	}
	return matchElements(g.middle, text)
}

// matches reports whether e, a literal or a one, matches c.
func (e *element) matches(c byte) bool {
	return e.kind == literal && e.char == c || e.kind == one && e.set.contains(c)
}

// matchElements matches greedily from the left, and where it fails has the last star take one byte more, or, when that
// star comes to a slash, the last of deep and dirs as much more as makes a difference. Those before need not be tried
// again: what they could take in addition the last one of their kind can take as well, for only deep and dirs can
// change how many slashes there are before it.
func matchElements(elements []element, text string) (ok bool, steps int) {
	e, t := 0, 0          // what is next
	starE, starT := -1, 0 // the last star, and the end of what it takes
	deepE, deepT := -1, 0 // the same of the last deep or dirs
	for ; ; steps++ {
		switch {
		case e == len(elements):
			if t == len(text) {
				return true, steps
			}
		case elements[e].kind == star:
			starE, starT = e, t
			e++
			continue
		case elements[e].kind == deep || elements[e].kind == dirs:
			deepE, deepT, starE = e, t, -1
			e++
			continue
		case t < len(text) && elements[e].matches(text[t]):
			e++
			t++
			continue
		}
		if starE >= 0 && starT < len(text) && text[starT] != '/' {
			starT++
			e, t = starE+1, starT
			continue
		}
		if deepE < 0 || deepT == len(text) {
			return false, steps
		}
		more := 1
		if elements[deepE].kind == dirs {
			if more += strings.IndexByte(text[deepT:], '/'); more == 0 {
				return false, steps
			}
		}
		deepT += more
		e, t, starE = deepE+1, deepT, -1
	}
}
