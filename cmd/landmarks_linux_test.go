package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"castar/store/storetest"
)

// TestStoreByAnotherPath: the store is left out, and left alone, by whatever path that leads to it.
func TestStoreByAnotherPath(t *testing.T) {
	ways := map[string]func(t *testing.T, from, to string){
		"bind mount": func(t *testing.T, from, to string) { mountAt(t, from, to, "", unix.MS_BIND, "") },
		"overlay": func(t *testing.T, from, to string) {
			upper, work := filepath.Join(to, "../upper"), filepath.Join(to, "../work")
			mkdir(t, upper, work)
			mountAt(t, "overlay", to, "overlay", 0, "lowerdir="+from+",upperdir="+upper+",workdir="+work)
		},
		"copy": func(t *testing.T, from, to string) { // which needs no mount
			if err := os.CopyFS(to, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		},
	}
	for kind, prefix := range map[string]string{"packed": "", "objects": "objectstore+file:"} {
		for way, lead := range ways {
			if storetest.UnderRace && (kind == "packed") != (way == "overlay") {
				continue // one goroutine does it all, so each way is tried once
			}
			t.Run(kind+" "+way, func(t *testing.T) {
				base := t.TempDir()
				t.Setenv("XDG_CACHE_HOME", filepath.Join(base, "cache"))
				spec := prefix + filepath.Join(base, "here/home/share/store")
				mkdir(t, filepath.Join(base, "here/home/share"), filepath.Join(base, "there"), filepath.Join(base, "none"))
				if err := os.WriteFile(filepath.Join(base, "here/home/file"), []byte("f"), 0o644); err != nil {
					t.Fatal(err)
				}
				mustRun(t, "ingest", "-s", spec, "--tag", "none", filepath.Join(base, "none"))
				mustRun(t, "ingest", "-s", spec, "--tag", "home", filepath.Join(base, "here/home"))
				lead(t, filepath.Join(base, "here"), filepath.Join(base, "there"))
				elsewhere(t, spec, filepath.Join(base, "there/home"))
				if status, out, errs := castar("verify", "-s", spec); status != 0 {
					t.Errorf("verify: status %d: %s%s", status, out, errs)
				}
			})
		}
	}
}

// elsewhere ingests home, compares it with the tag of that name, and exports over it and into the store in it. None is
// where the store was made to be.
func elsewhere(t *testing.T, spec, home string) {
	const left = "the store itself is left out: share/store\n"
	want := mustRun(t, "ls", "-s", spec, "home")
	status, out, errs := castar("ingest", "-s", spec, "--tag", "again", home)
	if status != 0 || !strings.Contains(errs, left) {
		t.Fatalf("ingest: status %d: %s%s", status, out, errs)
	}
	if got := mustRun(t, "ls", "-s", spec, "again"); got != want {
		t.Errorf("ingested %s, want %s", got, want)
	}
	if status, out, errs := castar("diff", "-s", spec, "home", home); status != 0 || out != "" || !strings.Contains(errs, left) {
		t.Errorf("diff: status %d: %s%s", status, out, errs)
	}
	for _, inside := range []string{"share/store", "share/store/packs", "share/store/new"} {
		for _, command := range [][]string{{"ingest"}, {"export", "--overwrite", "--delete", "none"}} {
			args := append(command, "-s", spec, filepath.Join(home, inside))
			if inside != "share/store" && command[0] == "ingest" {
				continue
			}
			if status, _, errs := castar(args...); status != 1 || !strings.Contains(errs, "is in the store\n") {
				t.Errorf("%s: status %d: %s", args, status, errs)
			}
		}
	}
	status, _, errs = castar("export", "-s", spec, "--overwrite", "--delete", "none", home)
	if status != 0 || !strings.Contains(errs, "the store itself is left alone: share/store\n") {
		t.Errorf("export: status %d: %s", status, errs)
	}
	if _, err := os.Lstat(filepath.Join(home, "file")); err == nil {
		t.Error("export left what is beside the store")
	}
}

func mkdir(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func mountAt(t *testing.T, from, to, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(from, to, kind, flags, data); err != nil {
		t.Skipf("NOT TESTED: a store behind a mount, for only root can make one: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}
