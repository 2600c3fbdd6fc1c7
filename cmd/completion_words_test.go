package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func hostileNames() []string {
	return []string{
		"plain", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a&touch pwned", "a|touch pwned", "a\ntouch pwned\n", "a\ttab",
		`a'b`, `a"b`, `a\b`, `a\`, "a*", "a?[b]", "a!b", "!!", "~", "~root", "-x", "a:b", "a b", " a ", "a\xff\xfeb", "#a", "a{b,c}", "a=b", "=a",
		"a>pwned", "a<b", "a(b)", "é", "a\u00a0b", "a\u202eb", "$HOME", "${IFS}", "%1", "^a^b", "'$(touch pwned)'", "\"$(touch pwned)\"", "\x01", "\x7f",
	}
}

// What is inserted is to bash the name and nothing else, whatever quote was open before.
func TestQuoteBash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("NOT TESTED: bash is not installed, so it read nothing of what completion inserts")
	}
	t.Chdir(t.TempDir())
	var script strings.Builder
	var want []string
	for _, name := range hostileNames() {
		for _, open := range []string{"", `"`, "'", "$'"} {
			reply := quoteBash(name, open)
			if open == "$'" {
				reply = "$" + reply // the line editor leaves that before the quote
			}
			fmt.Fprintf(&script, "printf '%%s\\0' %s\n", reply)
			want = append(want, name)
			if got := parseWord(reply); got.value != name || got.open != "" {
				t.Errorf("%q: parseWord(%s) = %+v", name, reply, got)
			}
		}
	}
	out, err := exec.Command("bash", "-c", script.String()).Output()
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); err != nil || !slices.Equal(got, want) {
		t.Errorf("bash: %v, read %q, want %q", err, got, want)
	}
	if _, err := os.Stat("pwned"); err == nil {
		t.Error("bash ran a name")
	}
}

func TestBashLine(t *testing.T) {
	tests := []struct {
		line         string
		words        []string
		before, last string // words are separated by |
		reply        string // for the candidate v1:a b@c
	}{
		{"castar ls v1", []string{"castar", "ls", "v1"}, "castar|ls", "v1", `v1:a\ b@c`},
		{"", []string{"castar", "ls", "v1"}, "castar|ls", "v1", `v1:a\ b@c`},
		{"castar ls ", []string{"castar", "ls", ""}, "castar|ls", "", `v1:a\ b@c`},
		{"castar ls v1:", []string{"castar", "ls", "v1", ":"}, "castar|ls", "v1:", `a\ b@c`},
		{"", []string{"castar", "ls", "v1", ":"}, "castar|ls", "v1:", `a\ b@c`},
		{"castar ls v1:a", []string{"castar", "ls", "v1", ":", "a"}, "castar|ls", "v1:a", `a\ b@c`},
		{"", []string{"castar", "ls", "v1", ":", "a"}, "castar|ls", "v1:a", `a\ b@c`},
		{"castar ls v1: a", []string{"castar", "ls", "v1", ":", "a"}, "castar|ls|v1:", "a", `v1:a\ b@c`},
		{`castar ls v1:a\ b@`, []string{"castar", "ls", "v1", ":", `a\ b`, "@"}, "castar|ls", "v1:a b@", "@c"},
		{`castar ls v1:a\ b@c`, []string{"castar", "ls", "v1", ":", `a\ b`, "@", "c"}, "castar|ls", "v1:a b@c", "@c"},
		{`castar ls "v1:a`, []string{"castar", "ls", `"v1:a`}, "castar|ls", "v1:a", `"v1:a b@c"`},
		{`castar ls 'v1:a `, []string{"castar", "ls", `'v1:a `}, "castar|ls", "v1:a ", `'v1:a b@c'`},
		{`castar ls v1:"a`, []string{"castar", "ls", "v1", ":", `"a`}, "castar|ls", "v1:a", `"a b@c"`},
		{`castar ls "v1":a`, []string{"castar", "ls", `"v1"`, ":", "a"}, "castar|ls", "v1:a", `a\ b@c`},
		{`castar ls v1:$'a`, []string{"castar", "ls", "v1", ":", `$'a`}, "castar|ls", "v1:a", `'a b@c'`},
		{`castar ls v1:a\`, []string{"castar", "ls", "v1", ":", `a\`}, "castar|ls", "v1:a", `a\ b@c`},
		{"castar ls v1", []string{"castar", "ls", "v1:a"}, "castar|ls", "v1", `v1:a\ b@c`}, // the cursor is in the word
		{"other line", []string{"castar", "ls", "v1"}, "castar|ls", "v1", `v1:a\ b@c`},
		{"castar --store=x ls v", []string{"castar", "--store", "=", "x", "ls", "v"}, "castar|--store=x|ls", "v", `v1:a\ b@c`},
	}
	for _, tt := range tests {
		l := readBashLine(tt.line, tt.words)
		if before := strings.Join(l.before, "|"); before != tt.before || l.last.value != tt.last || l.reply("v1:a b@c") != tt.reply {
			t.Errorf("%s %q: %q, %q, reply %s; want %q, %q, %s", tt.line, tt.words, before, l.last.value, l.reply("v1:a b@c"), tt.before, tt.last, tt.reply)
		}
	}
	for _, code := range []string{"v1$(", "v1`", "a;", "x$(y)"} {
		if !parseWord(code).code || parseWord("'"+code).code {
			t.Errorf("%s: unquoted %v, quoted %v", code, parseWord(code).code, parseWord("'"+code).code)
		}
	}
}

// The script that castar prints, in bash, with a tag and files of hostile names: every reply is run.
func TestBashCompletionRunsNothing(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("NOT TESTED: bash is not installed, so no completion was tried in it")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", dir+"/cache")
	t.Setenv("CASTAR_STORE", dir+"/store")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range hostileNames() {
		if err := os.MkdirAll(filepath.Join("tree", "in side"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("tree", "in side", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, "t$(touch${IFS}pwned);:in side/"+name)
	}
	slices.Sort(names)
	var log strings.Builder
	if status := Main([]string{"castar", "ingest", "-t", "t$(touch${IFS}pwned);", "tree"}, nil, &log, &log); status != 0 {
		t.Fatal(log.String())
	}
	script := `set -u
. <("$1" completion bash)
COMP_WORDS=("$1" ls t) COMP_CWORD=2 COMPREPLY=(); _castar
eval "tag=${COMPREPLY[0]}"
for start in "${COMPREPLY[0]}:in\\ side/" "\"${tag//$/\\$}:in side/" "'$tag:in side/"; do
	COMP_WORDS=("$1" ls "$start"); COMPREPLY=(); _castar
	eval "printf '%s\0' ${COMPREPLY[*]}"
done`
	if err := os.Symlink(self, "castar"); err != nil { // the test program is castar under that name, see TestMain
		t.Fatal(err)
	}
	out, err := exec.Command("bash", "-c", script, "bash", dir+"/castar").CombinedOutput()
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if err != nil || !slices.Equal(got, slices.Concat(names, names, names)) {
		t.Errorf("%v: replies %q, want three times %q", err, got, names)
	}
	if _, err := os.Stat("pwned"); err == nil {
		t.Error("bash ran a name")
	}
}
