package ignore

import "strings"

// patternCase says which paths the patterns of a file leave out, and which they do not. Paths are separated by spaces. ␠
// is a space in a name, and a path that ends in a slash is a directory.
type patternCase struct {
	name, file   string
	ignored, not string
}

type patternEntry struct {
	path           string
	isDir, ignored bool
}

func (c patternCase) entries() (list []patternEntry) {
	for _, l := range []struct {
		paths   string
		ignored bool
	}{{c.ignored, true}, {c.not, false}} {
		for path := range strings.FieldsFuncSeq(l.paths, func(r rune) bool { return r == ' ' }) {
			path, isDir := strings.CutSuffix(strings.ReplaceAll(path, "␠", " "), "/")
			list = append(list, patternEntry{path, isDir, l.ignored})
		}
	}
	return list
}

// patternCases returns examples of the rules of gitignore(5), and of git's code if the manual is silent.
func patternCases() []patternCase {
	return []patternCase{
		{"name", "foo", "foo foo/ a/foo a/b/foo/", "foo1 1foo Foo a/foo.o"},
		{"empty lines", "\n\nfoo\n\n", "foo", "bar"},
		{"comment", "#foo\nbar", "bar", "#foo foo"},
		{"space before comment", " #foo", "␠#foo", "#foo foo"},
		{"escaped hash", `\#foo`, "#foo", `foo \#foo`},
		{"escaped exclamation mark", `\!foo`, "!foo", "foo"},
		{"exception", "*.o\n!a.o", "b.o d/b.o", "a.o d/a.o"},
		{"exception too early", "!a.o\n*.o", "a.o b.o", "a.c"},
		{"exception to an exception", "*.o\n!a.o\na.o", "a.o", ""},
		{"only an exception", "!foo", "", "foo"},
		{"exclamation mark alone", "!\nfoo", "foo", "!"},
		{"trailing spaces", "foo   ", "foo", "foo␠␠␠"},
		{"trailing tab", "foo\t", "foo\t", "foo"},
		{"escaped trailing space", `foo\   `, "foo␠", "foo foo␠␠ foo␠␠␠"},
		{"inner space", "a b", "a␠b", "a b"},
		{"spaces only", "   ", "", "␠ ␠␠␠"},
		{"trailing backslash", `foo\`, "", `foo foo\`},
		{"spaces and a trailing backslash", `foo  \`, "", `foo foo\`},
		{"carriage return", "foo\r\nbar\r", "foo bar", "foo\r bar\r"},
		{"two carriage returns", "foo\r\r\n", "foo\r", "foo"},
		{"byte order mark", "\xef\xbb\xbffoo", "foo", "\xef\xbb\xbffoo"},
		{"byte order mark, second line", "bar\n\xef\xbb\xbffoo", "\xef\xbb\xbffoo", "foo"},
		{"NUL ends a line", "foo\x00bar\nbaz", "foo baz", "foobar bar"},
		{"directory", "foo/", "foo/ a/foo/", "foo a/foo"},
		{"slash alone", "/", "", "a a/"},
		{"slashes alone", "//", "", "a a/"},
		{"leading slash", "/foo", "foo foo/", "a/foo"},
		{"two leading slashes", "//foo", "", "foo a/foo"},
		{"inner slash", "a/foo", "a/foo a/foo/", "foo b/a/foo a/foob"},
		{"two trailing slashes", "foo//", "", "foo foo/"},
		{"leading and trailing slash", "/foo/", "foo/", "foo a/foo/ foobar/"},
		{"suffix", "*.o", "a.o .o d/a.o a.b.o", "a.oo o a.o.c"},
		{"prefix", "foo*", "foo foobar d/foo1 foo/", "fo d/fofoo"},
		{"both ends", "a*z", "az abz aazz", "a z azb zaz"},
		{"ends must not overlap", "ab*ba", "abba abxba", "aba"},
		{"star", "*", "a a/ a/b .c", ""},
		{"star and a dot", ".*", ".a .git/ d/.x", "a a.b"},
		{"stars", "*a*b*", "ab xaxbx aab", "ba a b"},
		{"question mark", "?.c", "a.c d/b.c", ".c aa.c"},
		{"question marks", "a??", "abc axx/ d/a.b", "ab abcd"},
		{"star stays in a name", "d/*.o", "d/a.o d/.o", "d/e/a.o a.o"},
		{"star for a directory", "d/*/f", "d/a/f d/bb/f", "d/f d/a/b/f"},
		{"question mark is no slash", "a?b/c", "axb/c", "a/b/c"},
		{"set is no slash", "a[/x]b", "axb", "a/b"},
		{"set is no slash, inverted", "d/a[!x]b", "d/ayb", "d/a/b d/axb"},
		{"leading stars", "**/foo", "foo a/foo a/b/foo", "afoo a/bfoo"},
		{"leading stars with a path", "**/a/b", "a/b x/a/b x/y/a/b", "a/x/b xa/b"},
		{"trailing stars", "foo/**", "foo/a foo/a/b foo/d/", "foo foo/ a/foo/b"},
		{"inner stars", "a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb ax/b b"},
		{"three stars", "a/***/b", "a/b a/x/y/b", "ab"},
		{"two inner stars", "a/**/b/**/c", "a/b/c a/x/b/y/z/c a/b/b/c", "a/c a/b a/xb/c"},
		{"stars beside a name", "a/x**/b", "a/x/b a/xy/b", "a/b"},
		{"stars after a name cross no slash", "a?**/b", "axy/b", "axy/z/b"},
		{"stars after a literal start", "foo**/bar", "foo/bar foobar foo1/bar foo/a/bar foo1/2/bar", "fo/bar"},
		{"stars before an escaped slash", `x/**\/b`, "x/a/b x/a/c/b", "x/b"},
		{"stars with a star", "a/**/*.o", "a/x.o a/b/c/x.o", "x.o a/x.c"},
		{"stars only", "**", "a a/ a/b", ""},
		{"stars and a slash", "**/", "a/ a/b/", "a"},
		{"stars, slash, stars", "**/**", "a a/b", ""},
		{"exception for a directory", "*\n!*/", "a a/b", "a/ a/b/"},
		{"exception with a path", "/*\n!/keep", "a b/", "keep keep/a"},
		{"set", "[abc].o", "a.o b.o", "d.o [abc].o ab.o"},
		{"range", "[a-cx]", "a b c x", "d - w"},
		{"inverted set", "[!a-c]", "d -", "a b c"},
		{"inverted set, caret", "[^a-c]", "d ^", "a b c"},
		{"caret inside", "[a^]", "a ^", "b"},
		{"bracket first", "[]a]", "] a", "[ []a]"},
		{"bracket first, inverted", "[!]a]", "b [", "] a"},
		{"dash first", "[-a]", "- a", "b"},
		{"dash last", "[a-]", "- a", "b"},
		{"range backwards", "[c-a]", "c", "a b -"},
		{"two ranges in a row", "[a-c-e]", "a b c - e", "d"},
		{"range to an escaped byte", `[a-\c]`, "a b c", `\ d`},
		{"escape in a set", `[\]\\]`, `] \`, "[ a"},
		{"bytes above ASCII", "[\x80-\xff]", "\x80 \xc3 \xff", "a \x7f é"},
		{"a question mark is one byte", "?", "a \xff", "é"},
		{"set not closed", "[abc\nfoo", "foo", "[abc a"},
		{"set not closed, escape", `[a\`, "", `[a\ a`},
		{"empty set", "[]", "", "[] a"},
		{"alpha", "[[:alpha:]]", "a Z", "1 _ é : ["},
		{"two classes", "[[:digit:][:upper:]_]", "7 Q _", "q"},
		{"inverted class", "[![:alnum:]]", "_ -", "a 1"},
		{"space class", "[[:space:]]", "␠ \t", "\v \f a"},
		{"blank class", "[[:blank:]]", "␠ \t", "\r a"},
		{"xdigit class", "[[:xdigit:]]", "0 a F", "g"},
		{"punct class", "[[:punct:]]", "! @ [ ` ~ _", "a 1 ␠"},
		{"graph, print and cntrl", "[[:graph:]]1\n[[:print:]]2\n[[:cntrl:]]3", "a1 a2 ␠2 \x013", "␠1 \x7f2 a3"},
		{"lower class", "[[:lower:]]", "a", "A 1"},
		{"unknown class", "[[:foo:]]", "", "f : ["},
		{"class without end", "[[:alpha]", "a : [ p", "z ]"},
		{"dash after a class", "[[:digit:]-z]", "1 - z", "a"},
		{"escaped star", `\*`, "*", `a \*`},
		{"escape of nothing special", `\a\b`, "ab", `\a\b`},
		{"escaped suffix", `*\.o`, "a.o", "axo"},
		{"not UTF-8", "\xff*\xfe", "\xff\xfe \xff1\xfe", "\xff"},
	}
}
