package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parts is a set of parts that a URL may have after its scheme, in the order of the URL.
type parts uint8

const (
	partUser parts = 1 << iota
	partHost
	partPort
	partPath   // begins with a slash
	partOpaque // a path that does not, in a URL without a host
	partQuery
	partFragment // no store has one
)

// form says what the URLs of one scheme look like.
type form struct {
	may  parts
	must parts
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
		switch part := parts(1 << i); {
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
func partsOf(rest string) (has parts, port string) {
	note := func(part parts, there bool) {
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

// missing reports the keys without a value, given in pairs.
func missing(pairs ...string) error {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			names = append(names, pairs[i])
		}
	}
	if names != nil {
		return errors.New("missing " + strings.Join(names, " and "))
	}
	return nil
}

// queryOf parses the query of a URL without its scheme. A plus stands for itself and not for a space. The error does not
// show the query, because it may hold secrets.
func queryOf(rest string) (url.Values, error) {
	_, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B"))
	if err != nil {
		return nil, errors.New("invalid query")
	}
	return values, nil
}

// setQuery passes each parameter of a query to its function.
func setQuery(values url.Values, set map[string]func(string) error) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		f, ok := set[key]
		if !ok {
			return fmt.Errorf("unknown parameter %q: want %s", key, strings.Join(slices.Sorted(maps.Keys(set)), ", "))
		}
		if err := checkValue(key, values[key]); err != nil {
			return err
		}
		if err := f(values[key][0]); err != nil {
			return fmt.Errorf("parameter %q: %w", key, err)
		}
	}
	return nil
}

// cutParameter cuts a parameter off the query of a URL, and passes its value, if it is given, to set.
func cutParameter(text, key string, set func(string) error) (rest string, err error) {
	rest, query, _ := strings.Cut(text, "?")
	var kept, values []string
	for pair := range strings.SplitSeq(query, "&") {
		if value, ok := strings.CutPrefix(pair, key+"="); ok {
			values = append(values, value)
		} else if pair != "" {
			kept = append(kept, pair)
		}
	}
	if len(kept) > 0 {
		rest += "?" + strings.Join(kept, "&")
	}
	if values == nil {
		return rest, nil
	}
	return rest, setQuery(url.Values{key: values}, map[string]func(string) error{key: set})
}

// checkValue reports a parameter that is given twice or has no value.
func checkValue(key string, values []string) error {
	switch {
	case len(values) != 1:
		return fmt.Errorf("parameter %q is given twice", key)
	case values[0] == "":
		return fmt.Errorf("parameter %q has no value", key)
	}
	return nil
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
