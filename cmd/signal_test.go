package cmd

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestInterrupt stops an ingest that would take minutes while it shows its progress.
func TestInterrupt(t *testing.T) {
	useRace(t)
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil { // all hole
		t.Skipf("NOT TESTED: signals, for there are no large sparse files here: %v", err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		c := exec.Command("castar", "-s", filepath.Join(dir, "store"), "ingest", "--progress=always", big)
		c.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir)
		var stdout bytes.Buffer
		c.Stdout = &stdout
		stderr, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(stderr, first); err != nil { // the bar: it is at work
			t.Error(err)
		}
		if err := c.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		rest, err := io.ReadAll(stderr)
		if err != nil {
			t.Error(err)
		}
		_ = c.Wait()
		if got := c.ProcessState.ExitCode(); got != statusInterrupted {
			t.Errorf("%v: exit status %d, want %d", sig, got, statusInterrupted)
		}
		if !strings.HasSuffix(string(rest), "castar: ingest: interrupted\n") || stdout.Len() > 0 {
			t.Errorf("%v: stdout %q, stderr ends in %q", sig, &stdout, rest[max(0, len(rest)-200):])
		}
	}
	log, err := exec.Command("castar", "-s", filepath.Join(dir, "store"), "log").CombinedOutput()
	if err != nil || len(log) > 0 {
		t.Errorf("log: %s, %v", log, err)
	}
}

// TestNohup has castar live on after its terminal is closed, where the user asked for that.
func TestNohup(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", "-c", `trap '' HUP; exec castar ingest -n --exclude-from "$0" "$0"`, fifo)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	patterns, err := os.OpenFile(fifo, os.O_WRONLY, 0) // castar opens it too, so that it runs by now
	if err != nil {
		t.Fatal(err)
	}
	err = c.Process.Signal(syscall.SIGHUP)
	patterns.Close()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != statusFailed { // a pipe cannot be stored
		t.Errorf("exit status %d, want %d", got, statusFailed)
	}
}
