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
	"castar/store/storetest/gorace"

	"github.com/rogpeppe/go-internal/testscript"

	"castar/store/record"
)

// withPlain is the tests, which run a castar that is built as users build it. The test binary would do, but it starts in
// twice the time, and in six times that under the race detector, and the tests run thousands of commands.
type withPlain struct{ *testing.M }

func (m withPlain) Run() int {
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", dir, "castar")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	if storetest.UnderRace {
		os.Setenv(racePath, os.Getenv("PATH"))
	}
	os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return m.M.Run()
}

// racePath names the variable that holds the PATH of useRace.
const racePath = "CASTAR_TEST_RACE_PATH"

// useRace makes a test run a castar with the race detector, if the test has it too. It is for commands that do several
// things at once in ways that no test of another package tries.
func useRace(t *testing.T) {
	t.Helper()
	if path := os.Getenv(racePath); path != "" {
		t.Setenv("PATH", path)
	}
}

func TestMain(m *testing.M) {
	gorace.Restart()
	testscript.Main(withPlain{m}, map[string]func(){
		"castar": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs every command as a user types it. Scripts have a home of their own, the condition
// [root], and two more commands than testscript's: exits STATUS PROGRAM ARGUMENT... asserts the exit status, where ! exec
// asserts only that it is not 0; later FIELDS FILE... adds the fields of a JSON object to the records in files, as a later
// castar may. Under the race detector only some run, because the castar that they run has none.
func TestScripts(t *testing.T) {
	dir, files := "../testdata/script", []string(nil)
	if storetest.UnderRace {
		for _, name := range []string{"copy", "export", "ingest", "serve"} {
			files = append(files, filepath.Join(dir, name+".txt"))
		}
		dir = ""
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Files:               files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("GORACE", os.Getenv("GORACE"))
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
