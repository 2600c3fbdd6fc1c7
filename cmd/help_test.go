package cmd

import (
	"bytes"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestHelpNamesFields looks for every field that --json prints in the help of the command.
func TestHelpNamesFields(t *testing.T) {
	var help bytes.Buffer
	app := (&env{stdout: &output{w: &help}, stderr: &console{w: io.Discard}}).app()
	printHelp(&help, app)
	wantFields(t, "", help.String(), jsonMessage{})
	for command, objects := range map[string][]any{
		"ingest":  {jsonIngested{}, jsonLeftOut{}},
		"export":  {jsonExported{}, jsonChange{}},
		"tag":     {jsonRecord{}},
		"log":     {jsonRecord{}},
		"diff":    {jsonDiff{}, jsonNode{}, jsonDiffStat{}},
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
		printCommandHelp(&help, app.Command(command))
		wantFields(t, command, help.String(), objects...)
	}
}

func wantFields(t *testing.T, command, help string, objects ...any) {
	t.Helper()
	for _, o := range objects {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(o)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !regexp.MustCompile(`\b`+name+`\b`).MatchString(help) {
				t.Errorf("castar help %s does not tell of the field %s", command, name)
			}
		}
	}
}

// TestHelpWidth looks for lines that are longer than others.
func TestHelpWidth(t *testing.T) {
	var help bytes.Buffer
	app := (&env{stdout: &output{w: &help}, stderr: &console{w: io.Discard}}).app()
	printHelp(&help, app)
	for _, c := range app.VisibleCommands() {
		printCommandHelp(&help, c)
	}
	for line := range strings.Lines(help.String()) {
		if len(line) > helpWidth+len("\n") {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
}
