package store_test

import (
	"strings"
	"testing"

	"castar/store"
)

func TestQuote(t *testing.T) {
	tests := []struct{ name, quoted, escaped string }{
		{"a/b c", "a/b c", "a/b c"},
		{"grüße", "grüße", "grüße"},
		{"e\u0301", "e\u0301", "e\u0301"}, // as macOS spells it
		{"日本", "日本", "日本"},
		{"", `""`, ""},
		{" a", `" a"`, " a"},
		{"a\n", `"a\n"`, `a\n`},
		{"\x1b[2J", `"\x1b[2J"`, `\x1b[2J`},
		{"a\x7f", `"a\x7f"`, `a\x7f`},
		{"a\xff", `"a\xff"`, `a\xff`},
		{"a\x9b1m", `"a\x9b1m"`, `a\x9b1m`},
		{"a\u009b1m", `"a\u009b1m"`, `a\u009b1m`},
		{"\uFFFD", "\uFFFD", "\uFFFD"},
		{"a\u202eb", `"a\u202eb"`, `a\u202eb`},
		{`a"b`, `"a\"b"`, `a"b`},
		{`a\nb`, `"a\\nb"`, `a\nb`},
		{"a\u3164\"", `"a\u3164\""`, `a\u3164"`},
		{"a\U000E0100", `"a\U000e0100"`, `a\U000e0100`},
	}
	for _, tt := range tests {
		if got := store.Quote(tt.name); got != tt.quoted {
			t.Errorf("Quote(%q) = %s, want %s", tt.name, got, tt.quoted)
		}
		if got := store.Escape(tt.name); got != tt.escaped {
			t.Errorf("Escape(%q) = %s, want %s", tt.name, got, tt.escaped)
		}
	}
}

// TestNotPlain has what shows nothing, moves the cursor or turns the text round.
func TestNotPlain(t *testing.T) {
	const all = "\x00\a\b\t\n\r\x1b\x7f\u0080\u009b\u009d\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b\u180e" +
		"\u2000\u2007\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u202f\u205f\u2060\u2064\u2066\u2069\u206f\u2800" +
		"\u3000\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\U0001d159\U0001d173\U000e0001\U000e0020\U000e007f\U000e0100\U000e01ef"
	for _, r := range all {
		if store.IsPlain(r) {
			t.Errorf("%U is plain", r)
		}
		if got := store.Quote("a" + string(r) + "b"); strings.ContainsRune(got, r) {
			t.Errorf("%U is shown: %q", r, got)
		}
	}
	for _, r := range " ~aß…│█日한\u0301\u05d0\u0627\U0001f600" {
		if !store.IsPlain(r) {
			t.Errorf("%U is not plain", r)
		}
	}
}

func TestShortPath(t *testing.T) {
	if p := strings.Repeat("a/", 2048); store.ShortPath(p) != p {
		t.Error("a path that the system takes is shortened")
	}
	got := store.ShortPath("first/" + strings.Repeat("ü/", 100_000) + "last")
	if len(got) > 300 || !strings.HasPrefix(got, "first/") || !strings.HasSuffix(got, "/last") || strings.Contains(store.Escape(got), `\`) {
		t.Errorf("got %q", got)
	}
}
