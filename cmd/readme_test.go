package cmd

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestReadme runs the session that README.md shows, and compares what it prints.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```console\n")
	session, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("README.md has no console session")
	}
	dir := t.TempDir()
	var got strings.Builder
	for line := range strings.Lines(session) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		got.WriteString(line)
		c := exec.Command("sh", "-c", command)
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME=", "XDG_CACHE_HOME=", "CASTAR_STORE=")
		out, err := c.CombinedOutput()
		got.Write(out)
		if err != nil {
			t.Errorf("%s%s%v", line, out, err)
		}
	}
	if got.String() != session {
		t.Errorf("README.md shows\n%s\nbut it is\n%s", session, &got)
	}
}
