package cmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"castar/store/storetest"

	"github.com/rogpeppe/go-internal/testscript"

	"castar/store/record"
)

// raceOptions keep a program that was built with the race detector from sleeping for a second before it exits, and the
// detector from mapping its memory anew for each new object of 16 KiB and more, which is most of the time of a program
// that has many.
const raceOptions = "atexit_sleep_ms=0 clear_shadow_mmap_threshold=268435456"

// withFolder is the tests, and a folder for a program that they build, which CASTAR_TEST_PLAIN names.
type withFolder struct{ *testing.M }

func (m withFolder) Run() int {
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("CASTAR_TEST_PLAIN", dir)
	return m.M.Run()
}

// usePlain makes a test under the race detector run a castar without it, which starts in a fifth of the time. It is for
// tests of what commands print: that commands have no races is tested by those that damage, kill and serve.
func usePlain(t *testing.T) {
	t.Helper()
	if !storetest.UnderRace {
		return
	}
	dir := os.Getenv("CASTAR_TEST_PLAIN")
	if _, err := os.Stat(filepath.Join(dir, "castar")); err != nil {
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "castar").CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceOptions) // for the programs that tests start
	testscript.Main(withFolder{m}, map[string]func(){
		"castar": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs every command as a user types it. Scripts have a home of their own, the condition
// [root], and two more commands than testscript's: exits STATUS PROGRAM ARGUMENT... asserts the exit status, where ! exec
// asserts only that it is not 0; later FIELDS FILE... adds the fields of a JSON object to the records in files, as a later
// castar may.
func TestScripts(t *testing.T) {
	usePlain(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("GORACE", raceOptions)
			env.Setenv("PATH", os.Getenv("PATH"))
			return os.Mkdir(home, 0o777)
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return os.Getuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "later": later},
	})
}

// later writes each record of files anew, of whichever form it is.
func later(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: later FIELDS FILE...")
	}
	for _, name := range args[1:] {
		var all []byte
		for line := range strings.Lines(ts.ReadFile(name)) {
			form, object := record.TwoLines, line
			if _, after, ok := strings.Cut(line, " {"); ok {
				form, object = record.OneLine, "{"+after
			}
			if !strings.Contains(object, "{") {
				continue // an empty line, or the digest in one of two lines
			}
			sum, err := record.Merge(args[0], object)
			ts.Check(err)
			all = append(all, form.Wrap([]byte(sum))...)
		}
		ts.Check(os.WriteFile(ts.MkAbs(name), all, 0o600))
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
