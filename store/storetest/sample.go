package storetest

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// Sample returns n, or few under the race detector: races are in the first of many like cases, and the detector is slow.
func Sample(n, few int) int {
	if UnderRace {
		return few
	}
	return n
}

// NotUnderRace skips a test under the race detector: one of a single goroutine that tries very many states, one
// that measures what they cost, or one that waits long for a castar without the detector.
func NotUnderRace(t *testing.T) {
	t.Helper()
	if UnderRace {
		t.Skip("NOT TESTED HERE: .ci/run tests this without the race detector")
	}
}

// Check is rapid.Check, with fewer cases under the race detector. It is for properties of files.
func Check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	if n := flag.Lookup("rapid.checks"); UnderRace && n.Value.String() == n.DefValue {
		if err := n.Value.Set("15"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, property)
}
