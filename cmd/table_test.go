package cmd

import "testing"

// On a narrow terminal, each cell has a line, with the name of its column.
func TestNarrow(t *testing.T) {
	got := narrow("NAME\tROOT\tTIME\nv1\tabcd\t2026\nv2\tef\t\n")
	if want := "v1\n  root abcd\n  time 2026\nv2\n  root ef\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := narrow("added\t1\t2 B\n"), "added\n  1\n  2 B\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
