package history

import (
	"testing"
	"time"

	"castar/store"
)

func TestName(t *testing.T) {
	day := func(d, hour int) time.Time { return time.Date(2026, 11, d, hour, 30, 15, 0, time.Local) }
	ingests := []store.Tag{ // oldest first
		{Name: "home", Source: "1", Time: day(1, 8)},
		{Name: "work", Source: "2", Time: day(1, 9)},
		{Name: "home", Source: "3", Time: day(2, 8)},
		{Name: "", Source: "4", Time: day(2, 9)},
		{Name: "home", Source: "5", Time: day(2, 10)},
		{Name: "a~b@c", Source: "6", Time: day(3, 8)},
	}
	for _, test := range []struct{ name, want string }{
		{"@1", "6"}, {"@6", "1"}, {"@7", "none"},
		{"home~0", "5"}, {"home~1", "3"}, {"home~2", "1"}, {"home~3", "none"}, {"work~1", "none"}, {"none~0", "none"},
		{"home@2026-11-01", "1"}, {"home@2026-11-02", "5"}, {"home@2026", "5"}, {"home@2026-11", "5"}, {"home@2027-01-01", "5"},
		{"home@2026-10-31", "none"}, {"home@2025", "none"}, {"home@2026-10", "none"},
		{"home@2026-11-02T0829", "1"}, {"home@2026-11-02T0830", "3"}, {"home@2026-11-02T083014", "1"}, {"home@2026-11-02T083015", "3"},
		{"a~b@c~0", "6"}, {"a~b@c@2026", "6"},
		{"home", ""}, {"", ""}, {"@", ""}, {"@0", ""}, {"@-1", ""}, {"@+1", ""}, {"@x", ""}, {"~1", ""}, {"home~", ""}, {"home~-1", ""},
		{"home~x", ""}, {"user@host", ""}, {"home@", ""}, {"@2026-11-01", ""}, {"home@2026-13", ""}, {"home~99999999999999999999", ""},
	} {
		n, ok := ParseName(test.name)
		if !ok || test.want == "" {
			if ok != (test.want != "") {
				t.Errorf("ParseName(%q) = %v", test.name, ok)
			}
			continue
		}
		got, err := n.Find(ingests)
		switch {
		case test.want == "none":
			if !store.IsNotFound(err) {
				t.Errorf("%s = %s, %v, want none", test.name, got.Source, err)
			}
		case err != nil || got.Source != test.want:
			t.Errorf("%s = %s, %v, want %s", test.name, got.Source, err, test.want)
		}
	}
}

func TestParseSpan(t *testing.T) {
	for _, text := range []string{"30d", "1y6m", "1y2m3d4h", "5h"} {
		if s, err := ParseSpan(text); err != nil || s.String() != text {
			t.Errorf("ParseSpan(%q) = %v, %v", text, s, err)
		}
	}
	if s, err := ParseSpan("2w1d"); err != nil || s != (Span{Days: 15}) {
		t.Errorf("2w1d = %v, %v", s, err)
	}
	for _, text := range []string{"", "d", "30", "30x", "-1d", "0d", "1d2", "99999999d", "1.5d"} {
		if s, err := ParseSpan(text); err == nil {
			t.Errorf("ParseSpan(%q) = %v, want an error", text, s)
		}
	}
	noon := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	if got := (Span{Years: 1, Days: 1, Hours: 2}).Before(noon); !got.Equal(time.Date(2025, 3, 30, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v", got)
	}
}
