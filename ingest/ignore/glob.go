package ignore

import "strings"

// glob is a compiled pattern. It matches text that begins with prefix, ends with suffix, and matches the elements in
// between. Most patterns are of the forms name, *.suffix and prefix*, which need at most two string comparisons.
type glob struct {
	prefix, suffix string
	middle         []element
}

// element matches a part of a text.
type element struct {
	kind kind
	char byte    // that a literal matches
	set  byteSet // that a one matches
}

type kind uint8

const (
	literal kind = iota // the byte char
	one                 // one byte of the set
	star                // any bytes except slashes
	deep                // any bytes
	dirs                // nothing, or any bytes followed by a slash
)

// byteSet is a set of bytes, one bit for each.
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

// compile compiles a pattern without its ! and without a slash at either end. ok is false if the pattern matches
// nothing.
//
// As in git, the text before the first special character is cut off, and the rest is read as if it were at the start:
// foo**/bar means foo, then **/bar.
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

// parseElement returns the first element of p and its length, which is 0 if it is malformed. atStart says that p is at
// the start or follows a slash.
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

// parseStars reads the stars that p begins with. Two or more are special only if they fill the space between slashes or
// the ends of the pattern. atStart says that they do so on the left.
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

// parseSet returns the set of the bracket expression that p begins with, and its length, which is 0 if the expression is
// malformed: not closed, or with an unknown class.
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
			fallthrough // without :] it is an ordinary [
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

// member returns the byte at p[i], or the byte after it if p[i] is a backslash. next is the index after that byte, or 0
// if p ends first.
func member(p string, i int) (c byte, next int) {
	if p[i] == '\\' {
		i++
	}
	if i >= len(p) {
		return 0, 0
	}
	return p[i], i + 1
}

// addClass adds the bytes of a POSIX class in the C locale. As in git, vertical tab and form feed do not count as space.
func (s *byteSet) addClass(name string) bool {
	const (
		digits = "09"
		lower  = "az"
		upper  = "AZ"
		punct  = "!/:@[`{~"
	)
	ranges, ok := map[string]string{ // pairs of first and last bytes
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

// last returns the byte that every text matched by g ends with, or 0 if it is not fixed.
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

// match reports whether g matches the whole text, and how many steps that took: at most about len(text) times the length
// of the pattern.
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

// matches reports whether e is a literal or a one that matches c.
func (e *element) matches(c byte) bool {
	return e.kind == literal && e.char == c || e.kind == one && e.set.contains(c)
}

// matchElements matches greedily from the left. When it fails, it extends the last star by one byte. If that star has
// reached a slash, it extends the last deep or dirs by the least that makes a difference. Earlier elements need not be
// extended: the last one of their kind can take the same bytes, because only deep and dirs change how many slashes come
// before it.
func matchElements(elements []element, text string) (ok bool, steps int) {
	e, t := 0, 0          // the next element and byte
	starE, starT := -1, 0 // the last star, and the end of its match
	deepE, deepT := -1, 0 // the same for the last deep or dirs
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
