package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"castar/export"
	"castar/ingest"
	"castar/store"
	"castar/store/listing"
	"castar/store/memory"
	"castar/store/storetest"
	"castar/store/tree"
)

// must fails the test if there is an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// accessList returns a POSIX ACL for user 12345.
func accessList(execute byte) []byte {
	none := "\xff\xff\xff\xff"
	return []byte("\x02\x00\x00\x00" + "\x01\x00" + string(6|execute) + "\x00" + none + "\x02\x00\x04\x00\x39\x30\x00\x00" +
		"\x04\x00\x04\x00" + none + "\x10\x00\x04\x00" + none + "\x20\x00\x00\x00" + none)
}

// makeHome makes a directory with what a home directory may have. Only root can make all of it.
func makeHome(t *testing.T, dir string, isRoot bool) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	file := func(name, data string, mode fs.FileMode) {
		must(t, os.WriteFile(at(name), []byte(data), 0o600), unix.Chmod(at(name), uint32(mode)))
	}
	must(t, os.Mkdir(dir, 0o700), os.MkdirAll(at("docs/2025/deep"), 0o750), os.Mkdir(at(".ssh"), 0o700), os.Mkdir(at("tmp"), 0o700),
		os.Mkdir(at("locked"), 0o700), os.Mkdir(at("set"), 0o700), os.Mkdir(at("empty"), 0o711))
	file(".ssh/id_ed25519", "secret", 0o600)
	file(".ssh/id_ed25519.pub", "public", 0o644)
	file("run", "#!/bin/sh\n", 0o755)
	file("docs/a", "shared", 0o664)
	file("docs/unreadable", "nobody", 0o000)
	file("locked/f", "read only", 0o644)
	file("locked/other", "same", 0o640)
	file("empty file", "", 0o600)
	file("docs/\xff\xfe\n\\", "odd name", 0o644)
	file("zz empty", "", 0o600)
	file("holes", "", 0o600)
	must(t, os.Truncate(at("holes"), 8<<20))
	f, err := os.OpenFile(at("holes"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 4<<20)
	must(t, err, f.Close())
	must(t, os.Link(at("docs/a"), at("docs/2025/deep/b")), os.Link(at("docs/a"), at("aa")), os.Link(at("docs/a"), at("locked/c")),
		os.Link(at("empty file"), at("docs/empty link")))
	file("docs/same as a", "shared", 0o664) // but another file
	must(t, os.Symlink("run", at("to run")), os.Symlink("/nowhere/\xff", at("docs/dangling")))
	if isRoot {
		must(t, unix.Lchown(at("docs/2025"), 12345, 54321), unix.Lchown(at("to run"), 12345, 54321), unix.Lchown(at("run"), 3000000000, 7))
		file("setuid", "program", 0o755)
		must(t, unix.Lchown(at("setuid"), 12345, 12345), unix.Chmod(at("setuid"), 0o6755), unix.Chmod(at("set"), 0o2775))
		must(t, unix.Lsetxattr(at("to run"), "trusted.note", []byte("on a link"), 0))
		caps := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		file("capable", "program", 0o755)
		must(t, unix.Setxattr(at("capable"), "security.capability", caps, 0))
	}
	must(t, unix.Setxattr(at("docs"), "user.note", []byte("a\x00b\xff"), 0), unix.Setxattr(at("locked/f"), "user.empty", nil, 0),
		unix.Setxattr(at(".ssh/id_ed25519"), "user.long", bytes.Repeat([]byte("x"), 3000), 0))
	must(t, unix.Setxattr(at("docs/2025/deep"), "system.posix_acl_default", accessList(1), 0),
		unix.Setxattr(at("docs/unreadable"), "system.posix_acl_access", accessList(0), 0))
	must(t, unix.Chmod(at("tmp"), 0o1777), unix.Chmod(at("locked/f"), 0o444), unix.Chmod(at("locked"), 0o555))
	times := map[string]time.Time{
		"run": time.Unix(-1, 1), ".ssh": time.Unix(1, 999999999), "docs/a": time.Unix(1700000000, 123456789),
		"docs": time.Unix(-86400*365, 500), "empty": time.Unix(0, 0), "locked": time.Unix(4000000000, 1), "docs/2025": time.Unix(1e9, 7),
		"docs/2025/deep": time.Unix(1e9, 8), "": time.Unix(1.5e9, 9), "locked/f": time.Unix(1<<31, 3), "holes": time.Unix(12345, 0),
	}
	for name, when := range times {
		must(t, os.Chtimes(at(name), time.Time{}, when))
	}
	for _, name := range []string{"to run", "docs/dangling"} {
		ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: 1234567890, Nsec: 987654321}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// attributesOf returns the extended attributes of an entry.
func attributesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name != "" {
			value := make([]byte, 64<<10)
			n, err := unix.Lgetxattr(path, name, value)
			must(t, err)
			all[name] = string(value[:n])
		}
	}
	return all
}

// depict describes all entries below dir. withOwner and withXattrs are those of an export. changes is nil, or gets the
// times of change.
func depict(t *testing.T, dir string, withOwner, withXattrs bool, changes map[string]int64) map[string]string {
	t.Helper()
	all, first := map[string]string{}, map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		must(t, err, unix.Lstat(path, &st))
		name := strings.TrimPrefix(path, dir)
		mode := st.Mode
		if !withOwner {
			mode &^= 0o6000
		}
		text := fmt.Sprintf("mode %o, time %d.%09d", mode, st.Mtim.Sec, st.Mtim.Nsec)
		if withOwner {
			text += fmt.Sprintf(", owner %d:%d", st.Uid, st.Gid)
		}
		switch d.Type() {
		case 0:
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			data, err := os.ReadFile(path)
			must(t, err)
			text += fmt.Sprintf(", the same as %q, holes %v, contents %s", first[st.Ino], st.Blocks*512 < st.Size, store.Sum(data))
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			must(t, err)
			text += ", to " + target
		}
		if withXattrs {
			text += fmt.Sprintf(", attributes %q", attributesOf(t, path))
		}
		all[name] = text
		if changes != nil {
			changes[name] = st.Ctim.Nano()
		}
		return nil
	}))
	return all
}

// ingestListed ingests path and opens its listing.
func ingestListed(t *testing.T, st *store.Store, path string) (store.Node, *listing.Folder) {
	t.Helper()
	ctx := context.Background()
	r, err := ingest.FS(ctx, st, path, ingest.Options{Listing: true, Xattrs: true, SkipSpecial: true})
	must(t, err)
	b, err := st.Blobs.Open(ctx, r.Listing)
	must(t, err)
	defer b.Close()
	text, err := io.ReadAll(b)
	must(t, err)
	f, err := listing.Open(bytes.NewReader(text), int64(len(text)), func(err error) { t.Error(err) })
	must(t, err)
	return r.Root, f
}

// attributesWork reports whether the file system of dir has attributes and ACLs.
func attributesWork(t *testing.T, dir string) bool {
	path := filepath.Join(dir, "try")
	must(t, os.WriteFile(path, nil, 0o600))
	defer os.Remove(path)
	for name, value := range map[string][]byte{"user.x": nil, "system.posix_acl_access": accessList(0)} {
		if err := unix.Setxattr(path, name, value, 0); err != nil {
			t.Skipf("NOT TESTED: metadata of a home directory, because the file system has no %s: %v", name, err)
		}
	}
	return true
}

// A home directory comes back as it was, in every way of exporting it. A second export changes nothing at all.
func TestRestoreHome(t *testing.T) {
	isRoot := os.Geteuid() == 0
	base := t.TempDir()
	attributesWork(t, base)
	src := filepath.Join(base, "home")
	makeHome(t, src, isRoot)
	must(t, unix.Mknod(filepath.Join(src, "docs/socket"), unix.S_IFSOCK|0o600, 0), os.Chtimes(filepath.Join(src, "docs"), time.Time{}, time.Unix(-5, 5)))
	st := memory.New()
	root, l := ingestListed(t, st, src)
	must(t, os.Remove(filepath.Join(src, "docs/socket")), os.Chtimes(filepath.Join(src, "docs"), time.Time{}, time.Unix(-5, 5)))
	for name, prepare := range map[string]func(dest string){
		"new":      func(string) {},
		"empty":    func(dest string) { must(t, os.Mkdir(dest, 0o755)) },
		"occupied": func(dest string) { must(t, os.Mkdir(dest, 0o755), os.WriteFile(dest+"/aa", []byte("shared"), 0o600)) },
		"damaged": func(dest string) {
			_, err := export.Dir(t.Context(), st, root, dest, export.Options{Sparse: true})
			must(t, err, os.Remove(dest+"/docs/a"), os.WriteFile(dest+"/run", nil, 0), unix.Chmod(dest+"/tmp", 0o500))
		},
		"linked wrongly": func(dest string) {
			_, err := export.Dir(t.Context(), st, root, dest, export.Options{Listing: l})
			must(t, err, os.Remove(dest+"/docs/same as a"), os.Link(dest+"/docs/a", dest+"/docs/same as a"))
			must(t, unix.Chmod(dest+"/locked", 0o700), os.Remove(dest+"/locked/c"), unix.Chmod(dest+"/locked", 0o555))
		},
	} {
		for _, all := range []bool{true, false} {
			t.Run(fmt.Sprint(name, all), func(t *testing.T) {
				dest := filepath.Join(t.TempDir(), "out")
				prepare(dest)
				o := export.Options{Listing: l, Owner: all && isRoot, Xattrs: all, Overwrite: name != "new" && name != "empty",
					Complain: func(path string, err error) { t.Errorf("%q: %v", path, err) }}
				_, err := export.Dir(t.Context(), st, root, dest, o)
				must(t, err)
				if diff := cmp.Diff(depict(t, src, o.Owner, o.Xattrs, nil), depict(t, dest, o.Owner, o.Xattrs, nil)); diff != "" {
					t.Errorf("original -, export +:\n%s", diff)
				}
				if all && isRoot {
					rsync(t, src, dest)
				}
				exportAgain(t, st, root, dest, o)
			})
		}
	}
	if !isRoot {
		t.Skip("NOT TESTED: owners, setuid and rsync, because only root can give files away")
	}
}

// rsync fails the test if rsync sees a difference.
func rsync(t *testing.T, src, dest string) {
	t.Helper()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Log("NOT TESTED: what rsync says of the export, because there is no rsync")
		return
	}
	out, err := exec.Command("rsync", "-aHAXn", "--delete", "--itemize-changes", src+"/", dest+"/").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("rsync: %v\n%s", err, out)
	}
}

// exportAgain exports over what an export has made. Nothing may change, and a dry run sees nothing to do.
func exportAgain(t *testing.T, st *store.Store, root store.Node, dest string, o export.Options) {
	t.Helper()
	before, after := map[string]int64{}, map[string]int64{}
	depict(t, dest, true, true, before)
	for _, dry := range []bool{true, false} {
		o.Overwrite, o.DryRun = true, dry
		o.Notify = func(a export.Action) { t.Errorf("again, dry %v: %s %q", dry, a.Op, a.Path) }
		r, err := export.Dir(t.Context(), st, root, dest, o)
		if err != nil || r.Written != 0 {
			t.Errorf("again, dry %v: %+v, %v", dry, r, err)
		}
	}
	depict(t, dest, true, true, after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("times of change, first -, second +:\n%s", diff)
	}
}

// An ordinary user gets a home directory back, even one that they may not write to.
func TestRestoreAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: restoring as another user, because only root can become one")
	}
	base, err := os.MkdirTemp("", "castar")
	must(t, err, os.Chmod(base, 0o777))
	t.Cleanup(func() { os.RemoveAll(base) })
	attributesWork(t, base)
	must(t, syscall.Setresuid(-1, 65534, -1)) // Setreuid would leave another saved user behind, and FUSE asks for that too
	defer func() { must(t, syscall.Setresuid(-1, 0, -1)) }()
	src, dest := filepath.Join(base, "home"), filepath.Join(base, "out")
	makeHome(t, src, false)
	must(t, unix.Chmod(src, 0o555), unix.Chmod(src+"/docs/unreadable", 0o400), os.Chtimes(src, time.Time{}, time.Unix(77, 77)))
	st := memory.New()
	root, l := ingestListed(t, st, src)
	for range 2 {
		o := export.Options{Listing: l, Xattrs: true, Overwrite: true, Complain: func(path string, err error) { t.Errorf("%q: %v", path, err) }}
		_, err = export.Dir(t.Context(), st, root, dest, o)
		must(t, err)
		if diff := cmp.Diff(depict(t, src, true, true, nil), depict(t, dest, true, true, nil)); diff != "" {
			t.Errorf("original -, export +:\n%s", diff)
		}
		exportAgain(t, st, root, dest, o)
		must(t, unix.Chmod(dest+"/locked", 0o700), os.Remove(dest+"/locked/f"), os.Remove(dest+"/locked/c"), unix.Chmod(dest+"/locked", 0o500))
	}
}

// A long listing waits in a file, and says the same.
func TestFactsInFile(t *testing.T) {
	storetest.NotUnderRace(t)
	ctx := context.Background()
	st := memory.New()
	var text bytes.Buffer
	text.WriteString("#mtree\n/set type=file uid=1 gid=2 mode=0644\n. type=dir mode=0700 time=5.0\n")
	long := "n size=1 time=1.0 xattr.user.x=" + strings.Repeat("QUFB", 1<<20) + "\n"
	for text.Len() <= listingMemory {
		text.WriteString(long)
	}
	text.WriteString("z size=1 mode=0600 time=7.5\n..\n")
	w, err := st.Blobs.Create(ctx)
	must(t, err)
	_, err = w.Write(text.Bytes())
	must(t, err)
	d, err := w.Commit()
	must(t, err)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	f, err := openFacts(ctx, st, tree.Ref{Listing: d, Path: "z"}, func(err error) { t.Error(err) })
	must(t, err)
	defer f.close()
	names, err := os.ReadDir(tmp)
	if err != nil || len(names) > 0 || f.file == nil {
		t.Errorf("files %v, %v", names, err)
	}
	l, ok := f.Lines(nil, func(err error) { t.Error(err) })
	if want := (listing.Entry{Kind: store.KindFile, Mode: 0o600, UID: 1, GID: 2, Seconds: 7, Nanoseconds: 5e8, Size: 1}); !ok || !cmp.Equal(l.Self, want) {
		t.Errorf("%+v, want %+v", l.Self, want)
	}
	if _, err := openFacts(ctx, st, tree.Ref{Listing: store.Sum([]byte("lost"))}, nil); !store.IsNotFound(err) {
		t.Errorf("a listing that is lost: %v", err)
	}
	if f, err := openFacts(ctx, st, tree.Ref{}, nil); f != nil || err != nil {
		t.Errorf("no listing: %v, %v", f, err)
	}
}
