package cmd

import (
	"fmt"
	"math"
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

// humanBytes returns n in binary units, with about three digits.
func humanBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	if n == math.MaxUint64 { // sums stop here
		return "16 EiB or more"
	}
	value, units := float64(n)/1024, "KMGTPE"
	for value >= 1023.95 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
