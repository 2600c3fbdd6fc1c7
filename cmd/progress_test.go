package cmd

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestBarShare shows a share of all bytes also where most were read before it was known how many there are.
func TestBarShare(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out}
	c.show()
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

// TestProgressLines prints a line a minute on a terminal that cannot move its cursor, and none elsewhere. The clock is not
// real.
func TestProgressLines(t *testing.T) {
	t.Setenv("TERM", "dumb")
	asked := make(chan os.Signal, 1) // package signal starts a goroutine for good, outside of the bubbles
	signal.Notify(asked, syscall.SIGUSR1)
	signal.Stop(asked)
	for _, tt := range []struct {
		env  env
		want int
	}{
		{env{stderr: &console{isTTY: true}, progress: "auto"}, 2},
		{env{stderr: &console{isTTY: true}, progress: "auto", quiet: true}, 0},
		{env{stderr: &console{isTTY: true}, progress: "auto", json: true}, 0},
		{env{stderr: &console{isTTY: true}, progress: "never"}, 0},
		{env{stderr: &console{}, progress: "auto"}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			tt.env.command, tt.env.stderr.w = "ingest", &out
			stop := tt.env.startProgress(func() sample { return sample{files: 3, bytes: 6144} })
			time.Sleep(time.Minute - time.Second)
			synctest.Wait()
			tt.env.stderr.mu.Lock()
			if out.Len() > 0 {
				t.Errorf("before a minute: %q", &out)
			}
			tt.env.stderr.mu.Unlock()
			time.Sleep(time.Minute + 2*time.Second)
			stop()
			time.Sleep(time.Hour)
			lines := strings.SplitAfter(out.String(), "\n")
			if len(lines) != tt.want+1 || tt.want > 0 && lines[1] != "castar: ingest: 3 files, 6.0 KiB, 51 B/s, 2m0s\n" {
				t.Errorf("got %q, want %d lines", lines, tt.want)
			}
		})
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
	c.show()
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
