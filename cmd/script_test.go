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

// plainFolder returns a folder with a castar for scripts where this is a test under the race detector: one without it,
// which starts in a fifth of the time. What scripts do is done under the race detector by the tests that damage, kill
// and serve. Otherwise it returns "".
func plainFolder(t *testing.T) string {
	if !storetest.UnderRace {
		return ""
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "castar").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceOptions) // for the programs that tests start
	testscript.Main(m, map[string]func(){
		"castar": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs every command as a user types it. Scripts have a home of their own, the condition
// [root], and two more commands than testscript's: exits STATUS PROGRAM ARGUMENT... asserts the exit status, where ! exec
// asserts only that it is not 0; later FIELDS FILE... adds the fields of a JSON object to the records in files, as a later
// castar may.
func TestScripts(t *testing.T) {
	plain := plainFolder(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("GORACE", raceOptions)
			if plain != "" {
				env.Setenv("PATH", plain+string(filepath.ListSeparator)+env.Getenv("PATH"))
			}
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
