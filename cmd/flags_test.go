package cmd

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"castar/store/storetest"
)

// What a flag cannot read it says by its name, with what it wants and what it got. Of package cli's own flags that holds
// for text alone, so that there are no others.
func TestUnwantedValues(t *testing.T) {
	read := 0
	for _, command := range (&env{}).app().Commands {
		if command.SkipFlagParsing {
			continue
		}
		for _, f := range command.Flags {
			switch f := f.(type) {
			case *cli.StringFlag:
				continue
			case *parsedFlag:
				if f.set("1") == nil && f.set("x") == nil {
					continue // a list
				}
			}
			if read++; storetest.UnderRace && read%raceStep != 0 {
				continue
			}
			for _, value := range []string{"y", "1.5", "10 m", "-"} {
				var stdout, stderr bytes.Buffer
				name := "--" + f.Names()[0]
				status := Main([]string{"castar", command.Name, name + "=" + value}, nil, &stdout, &stderr)
				prefix := "castar: " + command.Name + ": " + name + ": want "
				line, _, _ := strings.Cut(stderr.String(), "\n")
				if status != statusUsage || !strings.HasPrefix(line, prefix) || !strings.HasSuffix(line, ", not \""+value+"\"") {
					t.Errorf("%s %s=%s: status %d, %q; want %s…", command.Name, name, value, status, line, prefix)
				}
				if stdout.Len() > 0 {
					t.Errorf("%s %s=%s: stdout %q", command.Name, name, value, stdout.String())
				}
			}
		}
	}
	if read < 50 {
		t.Errorf("only %d flags that read a value", read)
	}
}

func TestNumbers(t *testing.T) {
	tests := []struct {
		value string
		want  int
		err   string
	}{
		{"0", 0, ""},
		{"12", 12, ""},
		{"010", 10, ""},
		{"0x10", 16, ""},
		{"-3", -3, ""},
		{"", 0, `want a whole number, not ""`},
		{" 1", 0, `want a whole number, not " 1"`},
		{"1e3", 0, `want a whole number, not "1e3"`},
		{"4k", 0, `want a whole number, not "4k"`},
		{"99999999999999999999", 0, `99999999999999999999 is too large`},
	}
	for _, tt := range tests {
		var got int
		err := rangeFlag("n", "", &got, math.MinInt, math.MaxInt, "", "").set(tt.value)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %d, %v, want %d, %s", tt.value, got, err, tt.want, tt.err)
		}
	}
	var bytes uint64
	if err := bytesFlag("b", &bytes, "", "").set("-1"); err == nil || err.Error() != `want a number of bytes such as 4096, 64K, 256M or 1G, not "-1"` {
		t.Errorf("-1 bytes: %v", err)
	}
	var small int
	if err := bytesFlag("b", &small, "", "").set("18446744073709551615"); err == nil {
		t.Errorf("2^64-1 bytes are %d", small)
	}
}
