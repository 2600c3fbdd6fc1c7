// Package query reads the parameters of stores: those in the query of a URL, and what has to be among them. Errors show no
// values and no query, which may hold secrets.
package query

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Parse returns the parameters of a query. A plus stands for itself and not for a space: keys have pluses, and no parameter
// has spaces.
func Parse(query string) (url.Values, error) {
	values, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B"))
	if err != nil {
		return nil, errors.New("invalid query")
	}
	return values, nil
}

// Once returns the one value of each parameter. A parameter that is none of known, is given twice, or has no value, is an
// error. Without known, any is known.
func Once(values url.Values, known ...string) (map[string]string, error) {
	once := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key]; {
		case len(known) > 0 && !slices.Contains(known, key):
			return nil, fmt.Errorf("unknown parameter %q: want %s", key, strings.Join(known, ", "))
		case len(v) != 1:
			return nil, fmt.Errorf("parameter %q is given twice", key)
		case v[0] == "":
			return nil, fmt.Errorf("parameter %q has no value", key)
		default:
			once[key] = v[0]
		}
	}
	return once, nil
}

// Missing reports the parameters without a value, which are given in pairs of a name and a value.
func Missing(pairs ...string) error {
	var names []string
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] == "" {
			names = append(names, pair[0])
		}
	}
	if names != nil {
		return errors.New("missing " + strings.Join(names, " and "))
	}
	return nil
}
