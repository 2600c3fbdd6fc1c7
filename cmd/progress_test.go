package cmd

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestBarShare shows a share of all bytes also where most were read before it was known how many there are.
func TestBarShare(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out}
	c.show("ingest")
	c.paint("ingest", sample{files: 1, bytes: 300_000})
	c.paint("ingest", sample{files: 2, bytes: 500_000})
	for _, step := range []struct {
		bytes, total uint64
		want         string
	}{{505_000, 1_000_000, " 50% "}, {605_000, 1_000_000, " 60% "}, {605_000, 2_000_000, " 30% "}, {2_000_000, 2_000_000, " 99% "}} {
		out.Reset()
		c.paint("ingest", sample{files: 3, bytes: step.bytes, total: step.total})
		pictures := strings.Split(strings.TrimRight(out.String(), "\r"), "\r")
		if last := pictures[len(pictures)-1]; !strings.Contains(last, step.want) {
			t.Errorf("%d of %d: %q, want%s", step.bytes, step.total, last, step.want)
		}
	}
}

// TestFitPictures cuts pictures to the width of the terminal, for what takes two rows would fill the screen.
func TestFitPictures(t *testing.T) {
	const picture = "\ringest 12 files  50% |█████     | (1.0 MiB, 2 MiB/s) [0s:3s]\x1b[0K"
	for _, test := range []struct {
		columns int
		want    string
	}{
		{100, picture},
		{61, picture},
		{60, "\ringest 12 files  50% |████     | (1.0 MiB, 2 MiB/s) [0s:3s]\x1b[0K"},
		{56, "\ringest 12 files  50% |██   | (1.0 MiB, 2 MiB/s) [0s:3s]\x1b[0K"},
		{40, "\ringest 12 files  50% |████    | [0s:3s]\x1b[0K"},
		{7, "\ringest\x1b[0K"},
		{1, "\r\x1b[0K"},
	} {
		if got := fitPictures(picture, test.columns); got != test.want {
			t.Errorf("%d columns: %q, want %q", test.columns, got, test.want)
		}
	}
	for text, want := range map[string]string{
		"":                           "",
		"\r||||||||||":               "\r||||",
		"\x1b[2K\r":                  "\x1b[2K\r",
		"\r          \r\r⠋ ingest 1": "\r    \r\r⠋ in",
	} {
		if got := fitPictures(text, 5); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestBarAndStdout erases the bar before a line of the result, which may be for the same terminal.
func TestBarAndStdout(t *testing.T) {
	var terminal bytes.Buffer
	c := &console{w: &terminal}
	o := &output{w: &terminal, console: c}
	c.show("verify")
	c.paint("verify", sample{files: 1})
	terminal.Reset()
	io.WriteString(o, "result\n")
	if want := "\x1b[2K\rresult\n"; terminal.String() != want {
		t.Errorf("got %q, want %q", &terminal, want)
	}
	c.hide()
	terminal.Reset()
	io.WriteString(o, "more\n")
	if want := "more\n"; terminal.String() != want {
		t.Errorf("got %q, want %q", &terminal, want)
	}
}
