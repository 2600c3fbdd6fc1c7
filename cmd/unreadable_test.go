package cmd

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"castar/store"
)

// TestUnreadable verifies stores with a file that may not be read. It may be whole, so it is reported and not recorded.
func TestUnreadable(t *testing.T) {
	uid := os.Getuid()
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	castar, err := exec.LookPath("castar")
	if err != nil {
		t.Fatal(err)
	}
	if uid == 0 { // who may read everything: somebody else has to, with a program that they can get at
		uid = 65534
		program := filepath.Join(dir, "castar")
		if err := copyProgram(castar, program); err != nil {
			t.Fatal(err)
		}
		castar = program
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pristine := filepath.Join(t.TempDir(), "store")
	ingestInto(t, pristine, damageSources(t)...)
	files := storeFiles(t, pristine)
	for i, f := range files {
		t.Run(f.path, func(t *testing.T) {
			// What is missing when the file is gone is what cannot be read.
			gone := filepath.Join(t.TempDir(), "store")
			copyStore(t, pristine, gone, files)
			if err := os.Remove(filepath.Join(gone, f.path)); err != nil {
				t.Fatal(err)
			}
			want := failed(readable(t, gone))
			st := filepath.Join(dir, string(rune('a'+i)))
			copyStore(t, pristine, st, files)
			unlinkAll(t, st, files, uid)
			if err := os.Chmod(filepath.Join(st, f.path), 0); err != nil {
				t.Fatal(err)
			}
			c := exec.Command(castar, "-s", st, "verify", "--json")
			if uid != os.Getuid() {
				c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
			}
			out, err := c.Output()
			if c.ProcessState.ExitCode() != statusPartial {
				t.Fatalf("exit status %d: %v\n%s", c.ProcessState.ExitCode(), err, out)
			}
			got, whats := map[string]bool{}, []store.DamageKind{}
			for line := range strings.Lines(string(out)) {
				var finding jsonFinding
				if err := json.Unmarshal([]byte(line), &finding); err != nil {
					t.Fatal(err)
				}
				if finding.What != "" && !finding.Harmless {
					whats = append(whats, finding.What)
				}
				for _, h := range finding.Hits {
					for _, root := range h.Roots {
						for _, p := range h.Paths {
							got[root+":"+p.Path] = true
						}
					}
				}
			}
			what := map[string]store.DamageKind{
				"packs": store.DamagePack, "index": store.DamageIndex, "tags": store.DamageTag, "log": store.DamageLog, "config": store.DamageConfig,
			}[f.kind]
			if !sameKeys(got, want) || !slices.Contains(whats, what) {
				t.Errorf("got %v of\n%v\nwant %s of\n%v", whats, keys(got), what, keys(want))
			}
			if left, err := os.ReadDir(filepath.Join(st, "quarantine")); err == nil {
				t.Errorf("in quarantine: %v", left)
			}
		})
	}
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// unlinkAll replaces links to the files of another store by copies, and gives all to a user.
func unlinkAll(t *testing.T, dir string, files []storeFile, uid int) {
	t.Helper()
	for _, f := range files {
		if err := writeOver(filepath.Join(dir, f.path), f.data); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && uid != os.Getuid() {
			err = os.Lchown(path, uid, uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
