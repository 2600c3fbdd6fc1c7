package cmd

import (
	"bytes"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"castar/store/tree"
)

// TestHelpNamesFields looks for every field that --json prints in the help of the command.
func TestHelpNamesFields(t *testing.T) {
	var help bytes.Buffer
	app := (&env{stdout: &output{w: &help}, stderr: &console{w: io.Discard}}).app()
	printHelp(&help, app, helpColumns)
	wantFields(t, "", help.String(), jsonMessage{}, jsonTraffic{})
	for command, objects := range map[string][]any{
		"ingest":  {jsonIngested{}, jsonLeftOut{}},
		"export":  {jsonExported{}, jsonExportAction{}},
		"tag":     {jsonRecord{}},
		"log":     {jsonRecord{Number: 1}},
		"diff":    {jsonDiff{}, tree.JSONNode{}, jsonDiffStat{}},
		"ls":      {jsonEntry{}},
		"find":    {jsonEntry{}},
		"stat":    {jsonStat{}},
		"stats":   {jsonMeasured{}, jsonTotal{}, jsonSize{}},
		"verify":  {jsonVerifying{}, jsonFinding{}, jsonHit{}, jsonPath{}, jsonVerified{}},
		"gc":      {jsonGC{}},
		"copy":    {jsonCopiedRoot{}, jsonCopied{}},
		"repair":  {jsonMended{}, jsonLost{}, jsonRepaired{}},
		"serve":   {jsonAddress{}},
		"config":  {jsonInstance{}},
		"version": {versionInfo{}},
	} {
		help.Reset()
		printCommandHelp(&help, app.Command(command), helpColumns)
		wantFields(t, command, help.String(), objects...)
	}
}

func wantFields(t *testing.T, command, help string, objects ...any) {
	t.Helper()
	for _, o := range objects {
		if line, ok := o.(jsonLine); ok && !strings.Contains(help, line.lineType()) {
			t.Errorf("castar help %s does not tell of the type %s", command, line.lineType())
		}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(o)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(help) {
				t.Errorf("castar help %s does not tell of the field %s", command, name)
			}
		}
	}
}

// TestHelpWidth looks for lines of help texts and topics that are longer than the terminal. Only examples and the forms of a
// command may be, on one of less than 80 columns.
func TestHelpWidth(t *testing.T) {
	app := (&env{stdout: &output{w: io.Discard}, stderr: &console{w: io.Discard}}).app()
	for _, width := range []int{helpColumns, 60, leastColumns} {
		var help bytes.Buffer
		printHelp(&help, app, width)
		for _, c := range app.VisibleCommands() {
			printCommandHelp(&help, c, width)
		}
		for _, text := range topics() {
			help.WriteString(reflow(text, width))
		}
		for line := range strings.Lines(help.String()) {
			line = strings.TrimSuffix(line, "\n")
			isExample := strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "      ") || strings.HasPrefix(line, "       castar ")
			if utf8.RuneCountInString(line) > width && !(isExample && width < helpColumns) {
				t.Errorf("%d columns of %d: %s", utf8.RuneCountInString(line), width, line)
			}
		}
	}
}

// TestReflow wraps paragraphs and the second columns of tables, and leaves examples alone.
func TestReflow(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		width            int
	}{
		{"a paragraph", "one two\nthree four\n\nfive\n", "one two three\nfour\n\nfive\n", 14},
		{"a long word", "a0123456789 b", "a0123456789\nb\n", 8},
		{"characters count, not bytes", "ää öö üü", "ää öö\nüü\n", 5},
		{"a table", "Rows:\n  a    one two three four five six\n  bcd  seven\n",
			"Rows:\n  a    one two three four five\n       six\n  bcd  seven\n", 31},
		{"a row that goes on", "  a  one\n       two\nthree\n", "  a  one two\nthree\n", 40},
		{"too narrow for a table", "  --a-long-flag  one two three\n", "  --a-long-flag\n        one two three\n", 24},
		{"an example", "  castar cat one two three\n", "  castar cat one two three\n", 12},
		{"an example with a comment", "  castar cat   # one two three\n", "  castar cat   # one two three\n", 12},
	} {
		if got := reflow(tt.text, tt.width); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}
