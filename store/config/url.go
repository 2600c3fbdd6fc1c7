package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"castar/store/query"
)

// urlParts is a set of parts that a URL may have after its scheme, in the order of the URL.
type urlParts uint8

const (
	partUser urlParts = 1 << iota
	partHost
	partPort
	partPath   // begins with a slash
	partOpaque // a path that does not, in a URL without a host
	partQuery
	partFragment // no store has one
)

// form says what the URLs of one scheme look like.
type form struct {
	may  urlParts
	must urlParts
	want string // an example, for messages
}

// No other package checks which parts a URL has. What the parts may say is checked by the kind.

// checkForm reports a part of a URL that nothing would read, and a part that is missing. Its messages show only the scheme
// of the URL, because secrets may be anywhere.
func checkForm(scheme, rest string) error {
	urls := kinds()[kindOf(scheme)].urls
	f, ok := urls[scheme]
	switch {
	case urls == nil:
		return nil
	case !ok:
		return unknownScheme(kindOf(scheme), scheme)
	}
	has, port := partsOf(rest)
	for i, name := range []string{"user", "host", "port", "path", "relative path", "query", "fragment"} {
		switch part := urlParts(1 << i); {
		case has&^f.may&part == partOpaque && f.may&partPath == 0:
			return fmt.Errorf("%s takes no path: want %s", scheme, f.want)
		case has&^f.may&part != 0:
			return fmt.Errorf("%s takes no %s: want %s", scheme, name, f.want)
		case f.must&^has&part != 0:
			return fmt.Errorf("%s needs a %s: want %s", scheme, name, f.want)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); has&partPort != 0 && (err != nil || n == 0) {
		return errors.New("port: want a number from 1 to 65535")
	}
	return nil
}

// unknownScheme is the error for a scheme that a kind of store lacks.
func unknownScheme(kind, scheme string) error {
	want := slices.Sorted(maps.Keys(kinds()[kind].urls))
	return fmt.Errorf("unknown scheme %q: want %s", scheme, strings.Join(want, ", "))
}

// partsOf returns the parts that a URL has after the colon of its scheme (RFC 3986, appendix B), and the port.
func partsOf(rest string) (has urlParts, port string) {
	note := func(part urlParts, there bool) {
		if there {
			has |= part
		}
	}
	rest, _, found := strings.Cut(rest, "#")
	note(partFragment, found)
	rest, _, found = strings.Cut(rest, "?")
	note(partQuery, found)
	rest, found = strings.CutPrefix(rest, "//")
	if !found {
		note(partPath, strings.HasPrefix(rest, "/"))
		note(partOpaque, rest != "" && has&partPath == 0)
		return has, ""
	}
	authority, path, _ := strings.Cut(rest, "/")
	note(partPath, path != "" || len(authority) < len(rest))
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		has |= partUser
		authority = authority[i+1:]
	}
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		has |= partPort
		authority, port = authority[:i], authority[i+1:]
	}
	note(partHost, authority != "")
	return has, port
}

// setQuery passes each parameter of a URL, without its scheme, to its function.
func setQuery(rest string, set map[string]func(string) error) error {
	_, text, _ := strings.Cut(rest, "?")
	values, err := query.Parse(text)
	if err != nil {
		return err
	}
	given, err := query.Once(values, slices.Sorted(maps.Keys(set))...)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if err := set[key](given[key]); err != nil {
			return fmt.Errorf("parameter %q: %w", key, err)
		}
	}
	return err
}

// cutParameter cuts a parameter off the query of a URL, and passes its value, if it is given, to set.
func cutParameter(text, key string, set func(string) error) (rest string, err error) {
	rest, list, _ := strings.Cut(text, "?")
	var kept, given []string
	for pair := range strings.SplitSeq(list, "&") {
		if strings.HasPrefix(pair, key+"=") {
			given = append(given, pair)
		} else if pair != "" {
			kept = append(kept, pair)
		}
	}
	if len(kept) > 0 {
		rest += "?" + strings.Join(kept, "&")
	}
	return rest, setQuery("?"+strings.Join(given, "&"), map[string]func(string) error{key: set})
}

func setText(to *string) func(string) error {
	return func(s string) error { *to = s; return nil }
}

func setBool(to *bool) func(string) error {
	return func(s string) (err error) {
		if *to, err = strconv.ParseBool(s); err != nil {
			return errors.New("want true or false")
		}
		return nil
	}
}
