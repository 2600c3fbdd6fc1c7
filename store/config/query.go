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

// missing reports the keys without a value, given in pairs.
func missing(pairs ...string) error {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			names = append(names, pairs[i])
		}
	}
	if names == nil {
		return nil
	}
	return errors.New("missing " + strings.Join(names, " and "))
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
