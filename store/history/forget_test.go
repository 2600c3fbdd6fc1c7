package history

import (
	"errors"
	"strings"
	"testing"
	"time"

	"castar/store"
)

// forgetLog is a log and its tags: home points at line 2, which is the newest of its root, and old at a line of another
// tag.
func forgetLog() (ingests, tags []store.Tag) {
	root := func(c byte) store.Node {
		return store.Node{Kind: store.KindDirectory, Digest: store.Digest{c}, Size: uint64(c)}
	}
	day := func(d int) time.Time { return time.Date(2026, 11, d, 12, 0, 0, 0, time.UTC) }
	ingests = []store.Tag{ // oldest first
		{Name: "old", Root: root(1), Time: day(1), Source: "/a", Host: "x"},
		{Name: "home", Root: root(2), Time: day(2), Source: "/a", Host: "x"},
		{Name: "home", Root: root(2), Time: day(3), Source: "/b", Host: "y"},
		{Name: "", Root: root(3), Time: day(3), Source: "/b", Host: "y"},
	}
	moved := root(1)
	moved.Size = 99 // it was found by its digest
	return ingests, []store.Tag{{Name: "home", Root: root(2)}, {Name: "kept", Root: moved}}
}

// numbersOf returns the numbers of lines, each with a minus before it if the line is forgotten.
func numbersOf(lines []Decision) string {
	var words []string
	for _, l := range lines {
		word := string(rune('0' + l.Number))
		if !l.Keep {
			word = "-" + word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestForgetByName(t *testing.T) {
	ingests, tags := forgetLog()
	all := NewForgetting(ingests, tags)
	digits := func(c byte) string { return store.Digest{c}.String() }
	for _, test := range []struct{ refs, want string }{
		{"home", "2 -3"},      // the tag's name stands for all its lines, and the one it points at stays
		{"@1 @3", "-1 -3"},    // by number
		{"home~1", "-3"},      // by tag and number
		{digits(3), "-1"},     // by digest
		{digits(3)[:8], "-1"}, // and its beginning
		{"old", "4"},          // of a tag with another name
		{"@4", `@4: the tag kept points at it`},
		{"home~0", `home~0: the tag home points at it`},
		{digits(2), digits(2) + `: the tag home points at it`},
		{"nothing", "no ingest in the log has the tag or root nothing: not found"},
		{"@9", "@9: the log has 4 lines: not found"},
		{digits(7), "no ingest in the log has the tag or root " + digits(7) + ": not found"},
	} {
		lines, err := all.ByName(strings.Fields(test.refs))
		got := numbersOf(lines)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.refs, got, test.want)
		}
		tagged, ok := errors.AsType[*TaggedError](err)
		if ok != strings.Contains(test.want, "points at it") || ok && tagged.Ref != test.refs {
			t.Errorf("%s: error %#v", test.refs, err)
		}
	}
	ingests[0].Root.Digest[31] = 1
	ingests[3].Root.Digest = store.Digest{1}
	if _, err := NewForgetting(ingests, nil).ByName([]string{store.Digest{1}.String()[:8]}); err == nil || !strings.Contains(err.Error(), "several roots") {
		t.Errorf("a beginning that two roots have: %v", err)
	}
}

func TestForgetByPolicy(t *testing.T) {
	ingests, tags := forgetLog()
	ingests = append(ingests, ingests[3]) // an equal line, which is newer
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name string
		only Filter
		by   Keys
		want string
	}{
		{"one group", Filter{}, Keys{}, "1 -2 3 -4 5"},
		{"by source", Filter{}, Keys{Source: true}, "4 5 1 -2 3"},
		{"one source", Filter{Sources: []string{"/a"}}, Keys{}, "4 5"},
		{"a tag of two", Filter{Tags: []string{"old", "home"}, Hosts: []string{"y"}}, Keys{}, "3"},
		{"none", Filter{Hosts: []string{"z"}}, Keys{}, ""},
	} {
		lines := NewForgetting(ingests, tags).ByPolicy(test.only, test.by, Policy{Last: 1}, now)
		if got := numbersOf(lines); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		for _, l := range lines {
			if l.Number == 3 && strings.Join(l.Reasons, ",") != "tag home" && test.name != "a tag of two" {
				t.Errorf("%s: line 3 stays because of %q", test.name, l.Reasons)
			}
		}
	}
}
