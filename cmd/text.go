package cmd

import (
	"fmt"
	"strings"

	"castar/store"
)

// quote returns a name for people to read; see store.Quote.
func quote(name string) string { return store.Quote(name) }

// quoteAll returns names for people to read, joined by a separator.
func quoteAll(names []string, separator string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, separator)
}

// plural returns n and the noun, in the plural unless n is 1.
func plural(n uint64, noun string) string {
	switch stem, isY := strings.CutSuffix(noun, "y"); {
	case n == 1:
	case isY:
		noun = stem + "ies"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// humanBytes returns a number of bytes for people to read; see store.HumanBytes.
func humanBytes(n uint64) string { return store.HumanBytes(n) }
