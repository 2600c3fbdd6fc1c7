package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store"
)

func TestJSONName(t *testing.T) {
	if text, b64 := store.JSONName("a\n"); text != "a\n" || b64 != "" {
		t.Errorf("got %q %q", text, b64)
	}
	if text, b64 := store.JSONName("a\xff"); text != "a\uFFFD" || b64 != "Yf8=" {
		t.Errorf("got %q %q", text, b64)
	}
}

func TestErrors(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "a\nb", Err: syscall.ENOENT}
	tests := []struct {
		err    error
		status int
		text   string
		json   string
	}{
		{nil, 0, "", ""},
		{missing, 1, "castar: x: open a\\nb: no such file or directory\n",
			`{"type":"error","level":"error","command":"x","text":"open a\nb: no such file or directory","status":1}` + "\n"},
		{errors.New("a\xff: no"), 1, "castar: x: a\\xff: no\n",
			`{"type":"error","level":"error","command":"x","text":"a` + "\uFFFD" + `: no","text_base64":"Yf86IG5v","status":1}` + "\n"},
		{errors.Join(errors.New("a: no"), errors.New("b: no")), 1, "castar: x: a: no\ncastar: x: b: no\n",
			`{"type":"error","level":"error","command":"x","text":"a: no","status":1}` + "\n" + `{"type":"error","level":"error","command":"x","text":"b: no","status":1}` + "\n"},
		{usagef("odd"), 2, "castar: x: odd\nsee 'castar x --help'\n",
			`{"type":"error","level":"error","command":"x","text":"odd","hint":"see 'castar x --help'","status":2}` + "\n"},
		{fmt.Errorf("so: %w", errPartial), 3, "", ""},
		{fmt.Errorf("/s: %w", store.ErrNoStore), 10,
			"castar: x: /s: no store here\n'castar ingest' makes a store in a new or empty folder; -s or CASTAR_STORE names it\n",
			`{"type":"error","level":"error","command":"x","text":"/s: no store here","hint":"'castar ingest' makes a store in a new or empty folder; -s or CASTAR_STORE names it","status":10}` + "\n"},
		{fmt.Errorf("blob: %w", store.ErrNotFound), 1, "castar: x: blob: not found\n",
			`{"type":"error","level":"error","command":"x","text":"blob: not found","status":1}` + "\n"},
		{fmt.Errorf("/s: %w", store.ErrLocked), 11, "castar: x: /s: locked by another process\nwait until the other process is done\n",
			`{"type":"error","level":"error","command":"x","text":"/s: locked by another process","hint":"wait until the other process is done","status":11}` + "\n"},
		{fmt.Errorf("a: %w", context.Canceled), 130, "castar: x: interrupted\n",
			`{"type":"error","level":"error","command":"x","text":"interrupted","status":130}` + "\n"},
	}
	for _, tt := range tests {
		if got := statusOf(tt.err); got != tt.status {
			t.Errorf("%v: status %d, want %d", tt.err, got, tt.status)
		}
		if tt.err == nil {
			continue
		}
		for asJSON, want := range map[bool]string{false: tt.text, true: tt.json} {
			var b bytes.Buffer
			printError(&b, asJSON, "x", tt.err)
			if b.String() != want {
				t.Errorf("%v\n got %s\nwant %s", tt.err, &b, want)
			}
		}
	}
}

// fullDisk fails as /dev/full does, which not every system has.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
}

func TestStdoutFull(t *testing.T) {
	for _, command := range []string{"version", "help", "version --json", "completion bash", "ingest --help"} {
		var stderr bytes.Buffer
		status := Main(append([]string{"castar"}, strings.Fields(command)...), nil, fullDisk{}, &stderr)
		if status != statusFailed || !strings.Contains(stderr.String(), "stdout: no space left on device") {
			t.Errorf("%s: status %d, stderr %s", command, status, &stderr)
		}
	}
}

func TestProgress(t *testing.T) {
	drawn := make(chan struct{})
	var stderr bytes.Buffer
	e := &env{command: "ingest", stderr: &console{w: &stderr}, progress: "always"}
	calls := 0
	stop := e.startProgress(func() sample {
		if calls++; calls == 3 {
			close(drawn)
		}
		return sample{files: 1234, bytes: 4096, total: 4096}
	})
	<-drawn
	e.note("by the way")
	stop()
	stop()
	if !strings.Contains(stderr.String(), "\x1b[2K\rcastar: ingest: by the way\n") {
		t.Errorf("the bar was in the way of a note: %q", &stderr)
	}
	if got := stderr.String(); !strings.Contains(got, "ingest 1234 files") || !strings.Contains(got, "4.0 KiB") && !strings.Contains(got, "4.0/4.0 KiB") {
		t.Errorf("bar %q", got)
	}

	stderr.Reset()
	for _, e := range []*env{{stderr: &console{w: io.Discard}, progress: "auto"}, {stderr: &console{w: io.Discard}, progress: "never"}} {
		e.stderr = &console{w: &stderr}
		e.startProgress(func() sample { return sample{} })()
	}
	if stderr.Len() > 0 {
		t.Errorf("not on a terminal, and yet %q", &stderr)
	}
}

// TestProgressSignal asks for a line as kill -USR1 does.
func TestProgressSignal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e := &env{command: "export", stderr: &console{w: w}, progress: "auto"}
	stop := e.startProgress(func() sample { return sample{files: 2, bytes: 512, total: 1536} })
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := r.Read(line)
	if want := "castar: export: 2 files, 512 B of 1.5 KiB, "; err != nil || !strings.HasPrefix(string(line[:n]), want) {
		t.Errorf("got %q, %v, want %q", line[:n], err, want)
	}
}

func TestSampleLine(t *testing.T) {
	got := sample{files: 3, bytes: 2048, total: 4096}.line(2 * time.Second)
	if want := "3 files, 2.0 KiB of 4.0 KiB, 1.0 KiB/s, 2s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHumanBytes(t *testing.T) {
	tests := map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		5 << 30: "5.0 GiB", 1<<64 - 2: "16.0 EiB", 1<<64 - 1: "16 EiB or more",
	}
	for n, want := range tests {
		if got := store.HumanBytes(n); got != want {
			t.Errorf("store.HumanBytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestDefaultStore(t *testing.T) {
	tests := []struct{ data, home, want string }{
		{"/data", "/home/u", "/data/castar"},
		{"", "/home/u", "/home/u/.local/share/castar"},
		{"relative", "/home/u", "/home/u/.local/share/castar"},
		{"", "", ""},
	}
	for _, tt := range tests {
		t.Setenv("XDG_DATA_HOME", tt.data)
		t.Setenv("HOME", tt.home)
		got, err := defaultStore()
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: got %s, %v", tt, got, err)
		}
	}
}

// TestPackedFormat compares what castar version prints with what is written into a new store.
func TestPackedFormat(t *testing.T) {
	dir := t.TempDir()
	e := &env{store: dir, stderr: &console{w: io.Discard}}
	st, err := e.openStore(t.Context(), forIngest)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	config, err := os.ReadFile(filepath.Join(dir, "config"))
	if want := fmt.Sprintf(`"version":%d,`, packedFormat); err != nil || !strings.Contains(string(config), want) {
		t.Errorf("config is %s, %v, want %s", config, err, want)
	}
}

func TestBelow(t *testing.T) {
	tests := []struct {
		dir, path string
		want      bool
	}{
		{"/a", "/a", true}, {"/a", "/a/b", true}, {"/", "/a", true}, {"/a", "/a/..b", true},
		{"/a", "/", false}, {"/a", "/ab", false}, {"/a/b", "/a", false},
	}
	for _, tt := range tests {
		if got := below(tt.dir, tt.path); got != tt.want {
			t.Errorf("below(%s, %s) = %v", tt.dir, tt.path, got)
		}
	}
}
