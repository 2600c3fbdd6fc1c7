package cmd

import (
	"bytes"
	"strings"
	"testing"
)

// TestBarShare shows a share of all bytes also where most were read before it was known how many there are.
func TestBarShare(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out}
	c.show(newBar(&out, "ingest"))
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
