package cmd

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestParseLine(t *testing.T) {
	tests := []struct {
		line string // words between spaces; ~ is an empty word
		want string // what package cli gets to see, or a part of the error after "!"
	}{
		{"ingest a", "ingest -- a"},
		{"ingest a --tag x", "ingest --tag=x -- a"},
		{"ingest a --tag=x b", "ingest --tag=x -- a b"},
		{"ingest a -t x", "ingest --tag=x -- a"},
		{"ingest -tx a", "ingest --tag=x -- a"},
		{"ingest -t=x a", "ingest --tag=x -- a"},
		{"ingest a -nx", "ingest --dry-run=true --one-file-system=true -- a"},
		{"ingest -nj4 a", "ingest --dry-run=true --jobs=4 -- a"},
		{"ingest -nj 4 a", "ingest --dry-run=true --jobs=4 -- a"},
		{"ingest --json=false a", "ingest --json=false -- a"},
		{"ingest -e -x a", "ingest --exclude=-x -- a"},
		{"ingest a -e b -e c", "ingest --exclude=b --exclude=c -- a"},
		{"-s /x ingest a", "ingest --store=/x -- a"},
		{"ingest a -s /x", "ingest --store=/x -- a"},
		{"-q ingest a -v", "ingest --quiet=true --verbose=true -- a"},
		{"ingest -- -n --tag x", "ingest -- -n --tag x"},
		{"ingest a -- --", "ingest -- a --"},
		{"ingest -n -- a -n", "ingest --dry-run=true -- a -n"},
		{"ingest -", "ingest -- -"},
		{"ingest ~", "ingest -- ~"},
		{"ingest help", "ingest -- help"},
		{"ingest h", "ingest -- h"},
		{"add a", "ingest -- a"},
		{"restore a b", "export -- a b"},
		{"__complete ingest -n --", "__complete ingest -n --"},
		{"", ""},
		{"-q", ""},
		{"ingest -h", "help"},
		{"ingest a --help b", "help"},
		{"--help", "help"},
		{"-qh ingest", "help"},
		{"--version", "version"},

		{"ingst", "!unknown command ingst, did you mean ingest?"},
		{"xyzzy", "!unknown command xyzzy"},
		{"~", `!unknown command ""`},
		{"-- ingest", "!no command before --"},
		{"-n ingest", "!unknown flag -n"},
		{"--tag x ingest", "!unknown flag --tag"},
		{"ingest --tga x", "!unknown flag --tga, did you mean --tag?"},
		{"ingest -nZ", "!unknown flag -Z"},
		{"ingest -\xffn", `!unknown flag "-\xff"`},
		{"ingest --", "ingest --"},
		{"ingest --=x", "!unknown flag --"},
		{"ingest a --tag", "!--tag needs a value: want NAME"},
		{"ingest --tag= a", "!--tag needs a value: want NAME"},
		{"ingest --tag ~ a", "!--tag needs a value: want NAME"},
		{"ingest -s= a", "!-s needs a value: want STORE"},
		{"gc --wait", "!--wait needs a value: want a duration such as 10m"},
		{"verify --sample", "!--sample needs a value: want a part such as 5% or 1/20"},
		{"forget --keep-within", "!--keep-within needs a value: want a span such as 30d or 1y6m"},
		{"serve --memory", "!--memory needs a value: want a number of bytes such as 4096, 64K, 256M or 1G"},
		{"ls --sort", "!--sort needs a value: want name or size"},
		{"find --type", "!--type needs a value: want letters among d, f, x and l"},
		{"ingest -e", "!-e needs a value: want PATTERN"},
		{"ingest a -j", "!-j needs a value: want a whole number"},
		{"ingest --version", "!unknown flag --version"},
		{"--store", "!--store needs a value: want STORE"},
		{"ingest a -t x --tag x", "!--tag given twice"},
		{"-s /x ingest a --store=/y", "!--store given twice"},
		{"-s /x -s /x ingest a", "!--store given twice"},
		{"serve -l a --listen b", "serve --listen=a --listen=b --"},
		{"ls -r a", "ls --recursive=true -- a"},
		{"tag --overwrite a b", "tag --force=true -- a b"},
		{"ingest -vv a", "ingest --verbose=true --verbose=true -- a"},
	}
	app := (&env{stdout: &output{w: io.Discard}, stderr: &console{w: io.Discard}}).app()
	for _, tt := range tests {
		args := strings.Fields(tt.line)
		for i := range args {
			args[i] = strings.TrimPrefix(args[i], "~")
		}
		line, err := parseLine(app, slices.Clone(args))
		got := ""
		switch {
		case err != nil:
			got = "!" + err.Error()
			if statusOf(err) != statusUsage || !strings.HasPrefix(hintOf("ls", err), "see 'castar") {
				t.Errorf("%s: status %d, hint %q", tt.line, statusOf(err), hintOf("ls", err))
			}
		case line.help:
			got = "help"
		case line.version:
			got = "version"
		case line.command.Name != "":
			words := append([]string{line.command.Name}, line.flags...)
			if !line.command.SkipFlagParsing {
				words = append(words, "--")
			}
			words = append(words, line.args...)
			for i := range words {
				if words[i] == "" {
					words[i] = "~"
				}
			}
			got = strings.Join(words, " ")
		}
		if got != tt.want {
			t.Errorf("castar %s\n got %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"ingest", "export", "tag", "log", "version", "n"}
	tests := map[string]string{
		"ingest": "ingest", "injest": "ingest", "ingets": "ingest", "igest": "ingest", "exprot": "export",
		"tga": "tag", "lgo": "log", "dog": "log", "x": "", "i": "", "import": "export", "verify": "", "": "",
	}
	for s, want := range tests {
		if got := nearest(s, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", s, got, want)
		}
	}
}

// TestFlags checks that every flag can be told from the others, and is described.
func TestFlags(t *testing.T) {
	app := (&env{stdout: &output{w: io.Discard}, stderr: &console{w: io.Discard}}).app()
	for _, c := range app.Commands {
		seen := map[string]bool{"help": true, "h": c.Name != "ls"} // its -h is that of ls(1)
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("%s: flag %s is there twice", c.Name, n)
				}
				seen[n] = true
			}
		}
		if !c.Hidden && (c.Usage == "" || c.UsageText == "" || c.Action == nil) {
			t.Errorf("%s: no help, or nothing to run", c.Name)
		}
	}
}
