package crashfs_test

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// describe returns the files and folders of a state in one line. Zeros show as dots.
func describe(t *testing.T, fsys durable.FS) string {
	t.Helper()
	var parts []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		check(t, err)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if e.IsDir() {
				parts = append(parts, name+"/")
				walk(name)
				continue
			}
			data, err := durable.ReadFile(fsys, name, 1<<20)
			check(t, err)
			parts = append(parts, name+"="+strings.ReplaceAll(string(data), "\x00", "."))
		}
	}
	walk(".")
	return strings.Join(parts, " ")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// script runs operations, one for each word: verb:name[:more].
func script(t *testing.T, fsys *crashfs.FS, ops string) {
	t.Helper()
	open := map[string]durable.File{}
	for op := range strings.FieldsSeq(ops) {
		verb, args, _ := strings.Cut(op, ":")
		name, arg, _ := strings.Cut(args, ":")
		var err error
		switch verb {
		case "create":
			open[name], err = fsys.Create(name)
		case "write":
			_, err = open[name].Write([]byte(arg))
		case "over":
			_, err = open[name].WriteAt([]byte(arg), 0)
		case "far":
			_, err = open[name].WriteAt([]byte(arg), 3)
		case "sync":
			err = open[name].Sync()
		case "mkdir":
			err = fsys.Mkdir(name)
		case "rename":
			err = fsys.Rename(name, arg)
		case "remove":
			err = fsys.Remove(name)
		case "syncdir":
			err = fsys.SyncDir(name)
		case "badsync", "badsyncdir":
			fsys.Inject(func(crashfs.Op) error { return syscall.EIO })
			if verb == "badsync" {
				err = open[name].Sync()
			} else {
				err = fsys.SyncDir(name)
			}
			fsys.Inject(nil)
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: %v", op, err)
			}
			err = nil
		default:
			t.Fatalf("unknown verb %s", verb)
		}
		check(t, err)
	}
	for _, f := range open {
		check(t, f.Close())
	}
}

// made is a script that makes a durable file f with the contents ab.
const made = "create:f write:f:ab sync:f syncdir:. "

// modelTest is calls, and every state that a crash may leave after them.
type modelTest struct {
	name, ops string
	want      []string
}

func modelTests() []modelTest {
	return []modelTest{
		{"nothing", "", []string{""}},
		{"create", "create:f", []string{"", "f="}},
		{"create synced file only", "create:f write:f:ab sync:f", []string{"", "f=ab"}},
		{"create synced folder only", "create:f write:f:ab syncdir:.", []string{"f=", "f=..", "f=a", "f=ab"}},
		{"create synced both", made, []string{"f=ab"}},
		{"sync before the write", "create:f sync:f syncdir:. write:f:a", []string{"f=", "f=.", "f=a"}},
		{"overwrite", made + "over:f:xy", []string{"f=ab", "f=xb", "f=xy"}},
		{"overwrite and extend", made + "over:f:xyz", []string{"f=ab", "f=ab.", "f=xb", "f=xy", "f=xyz"}},
		{"hole", made + "far:f:x", []string{"f=ab", "f=ab..", "f=ab.x"}},
		{"two writes survive apart", made + "write:f:c write:f:d", []string{"f=ab", "f=ab.", "f=abc", "f=ab..",
			"f=abc.", "f=ab.d", "f=abcd"}},
		{"failed sync is in doubt for good", "create:f syncdir:. write:f:a badsync:f write:f:b sync:f",
			[]string{"f=.b", "f=ab"}},
		{"failed sync is overwritten", "create:f syncdir:. write:f:a badsync:f over:f:b sync:f", []string{"f=b"}},
		{"failed syncdir is in doubt for good", "create:f badsyncdir:. create:g syncdir:.", []string{"g=", "f= g="}},

		{"mkdir", "mkdir:d", []string{"", "d/"}},
		{"file in a lost folder", "mkdir:d create:d/f syncdir:d", []string{"", "d/ d/f="}},
		{"file in a folder", "mkdir:d syncdir:. create:d/f", []string{"d/", "d/ d/f="}},
		{"remove", made + "remove:f", []string{"", "f=ab"}},
		{"remove synced", made + "remove:f syncdir:.", []string{""}},
		{"remove of a new file", "create:f remove:f", []string{"", "f="}},
		{"remove of a folder", "mkdir:d syncdir:. remove:d", []string{"", "d/"}},

		{"rename", made + "rename:f:g", []string{"f=ab", "f=ab g=ab", "g=ab"}},
		{"rename synced", made + "rename:f:g syncdir:.", []string{"g=ab"}},
		{"rename replaces", made + "create:g write:g:x sync:g syncdir:. rename:g:f",
			[]string{"f=ab g=x", "f=x g=x", "f=x"}},
		{"rename replaces by a new name", made + "create:g write:g:x sync:g rename:g:f",
			[]string{"f=ab", "f=ab g=x", "f=x", "f=x g=x"}},
		{"rename of unsynced contents", made + "create:g write:g:x rename:g:f syncdir:.", []string{"f=", "f=.", "f=x"}},
		{"rename over folders, neither synced", made + "mkdir:d syncdir:. rename:f:d/g",
			[]string{"d/ d/g=ab f=ab", "d/ d/g=ab", "d/ f=ab"}},
		{"rename over folders, target synced", made + "mkdir:d syncdir:. rename:f:d/g syncdir:d",
			[]string{"d/ d/g=ab f=ab", "d/ d/g=ab"}},
		{"rename over folders, source synced", made + "mkdir:d syncdir:. rename:f:d/g syncdir:.",
			[]string{"d/ d/g=ab", "d/ f=ab"}},
		{"rename over folders, both synced", made + "mkdir:d syncdir:. rename:f:d/g syncdir:. syncdir:d",
			[]string{"d/ d/g=ab"}},
		{"rename of a folder", "mkdir:d create:d/f syncdir:d syncdir:. rename:d:e", []string{"d/ d/f=", "e/ e/f="}},
		{"rename of a folder twice", "mkdir:d create:d/f syncdir:d syncdir:. rename:d:e rename:e:g",
			[]string{"d/ d/f=", "e/ e/f=", "g/ g/f="}},
		{"rename of a folder, target synced", "mkdir:d mkdir:e syncdir:. rename:d:e/d syncdir:e", []string{"e/ e/d/"}},
	}
}

func TestModel(t *testing.T) {
	for _, tt := range modelTests() {
		t.Run(tt.name, func(t *testing.T) {
			fsys := crashfs.New()
			script(t, fsys, tt.ops)
			got := map[string]bool{}
			for s := range fsys.States(fsys.Len(), 10_000, 0) {
				got[describe(t, s)] = true
			}
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(got))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A write of several sectors is torn only between sectors, and later sectors may survive without the first.
func TestTornSectors(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, "create:f syncdir:. sync:f")
	f, err := fsys.Append("f")
	check(t, err)
	_, err = f.Write([]byte(strings.Repeat("a", 512) + strings.Repeat("b", 512) + "c"))
	check(t, err)

	got := map[string]bool{}
	for s := range fsys.States(fsys.Len(), 100, 0) {
		data := string(s.Files()["f"])
		shape := fmt.Sprintf("%d", len(data))
		for i := 0; i < len(data); i += 512 {
			shape += strings.ReplaceAll(data[i:i+1], "\x00", ".")
		}
		got[shape] = true
	}
	want := []string{"0", "1024ab", "1025...", "1025..c", "1025.bc", "1025a..", "1025ab.", "1025abc", "512a"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
}

// States yields all states if they are within the limit, and otherwise as many as the limit, with both extremes.
func TestStatesLimit(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, "create:a create:b create:c create:d create:e")
	for _, tt := range []struct{ limit, want int }{{32, 32}, {100, 32}, {31, 31}, {2, 2}} {
		seen := map[string]int{}
		n := 0
		for s := range fsys.States(5, tt.limit, 1) {
			seen[describe(t, s)]++
			n++
		}
		if n != tt.want || seen[""] == 0 || seen["a= b= c= d= e="] == 0 {
			t.Errorf("limit %d: %d states, want %d: %v", tt.limit, n, tt.want, seen)
		}
		if tt.limit >= 32 && len(seen) != 32 {
			t.Errorf("limit %d: %d distinct states, want 32", tt.limit, len(seen))
		}
	}
	list := func(seed uint64) (l []string) {
		for s := range fsys.States(5, 25, seed) {
			l = append(l, describe(t, s))
		}
		return l
	}
	if cmp.Diff(list(1), list(1)) != "" {
		t.Error("one seed gives two sequences")
	}
	if cmp.Diff(list(1), list(2)) == "" {
		t.Error("two seeds give one sequence")
	}
	alone := list(1)
	for _, want := range []string{"a=", "b= c= d= e=", "e=", "a= b= c= d="} {
		if !slices.Contains(alone, want) {
			t.Errorf("no state %q", want)
		}
	}
}

// The contents of a lost file offer no choice: there is one state without the file, and there are five with it.
func TestStatesOfLostFile(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, "create:f write:f:abc")
	n := 0
	for range fsys.States(fsys.Len(), 100, 0) {
		n++
	}
	if n != 6 {
		t.Errorf("%d states, want 6", n)
	}
}

// A state has its own log, and its initial contents are durable. Changes to it do not show elsewhere.
func TestCrashIsFresh(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, "create:f write:f:ab")
	l, err := fsys.Lock("f", true)
	check(t, err)
	every := func(n int) int { return n - 1 }

	s := fsys.Crash(fsys.Len(), every)
	if s.Len() != 0 || describe(t, s) != "f=ab" || s.InUse() != 0 {
		t.Errorf("got %d operations, %q, %d in use", s.Len(), describe(t, s), s.InUse())
	}
	_, err = s.Lock("f", true)
	check(t, err)
	f, err := s.Append("f")
	check(t, err)
	_, err = f.Write([]byte("c"))
	check(t, err)
	if got := describe(t, s.Crash(1, every)); got != "f=abc" {
		t.Errorf("after the write: %q", got)
	}
	if got := describe(t, s.Crash(1, func(int) int { return 0 })); got != "f=ab" {
		t.Errorf("without the write: %q", got)
	}
	if got := describe(t, fsys); got != "f=ab" {
		t.Errorf("the original has %q", got)
	}
	check(t, l.Close())
}

func TestKillAndClone(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, "create:f write:f:ab sync:f syncdir:. create:g")
	every, none := func(n int) int { return n - 1 }, func(int) int { return 0 }
	for k, want := range []string{"", "f=", "f=ab", "f=ab", "f=ab", "f=ab g="} {
		s := fsys.Kill(k)
		if got := describe(t, s); got != want || s.Len() != k {
			t.Errorf("killed after %d: %q, log of %d", k, got, s.Len())
		}
	}
	c := fsys.Clone()
	check(t, c.SyncDir("."))
	if got := describe(t, c.Crash(c.Len(), none)); got != "f=ab g=" {
		t.Errorf("clone after its sync: %q", got)
	}
	if got := describe(t, fsys.Crash(fsys.Len(), none)); got != "f=ab" {
		t.Errorf("original without a sync: %q", got)
	}
	script(t, fsys, "create:h")
	if got := describe(t, c.Crash(c.Len(), every)); got != "f=ab g=" {
		t.Errorf("clone has %q", got)
	}
}

// A crash can leave a file under two names. A write to one then shows in the other, and renaming one to the other does
// nothing, as rename(2) says.
func TestTwoNames(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, made+"rename:f:g")
	s := fsys.Crash(fsys.Len(), func(n int) int { return n / 2 })
	f, err := s.Append("f")
	check(t, err)
	_, err = f.Write([]byte("c"))
	check(t, err)
	check(t, s.Rename("f", "g"))
	if got := describe(t, s); got != "f=abc g=abc" {
		t.Errorf("got %q", got)
	}
}
