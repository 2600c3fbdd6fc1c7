package cmd

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A mount shows the modes and times of the listing, of a tag, of a part of it and of lines of the log; and nothing of it
// where that is not wanted.
func TestMountFacts(t *testing.T) {
	m := newMountTest(t)
	tree := filepath.Join(m.dir, "tree")
	when := time.Date(2021, 3, 4, 5, 6, 7, 123456789, time.UTC)
	mkdir(t, filepath.Join(tree, "private"))
	for path, mode := range map[string]os.FileMode{"f": 0o640, "private/key": 0o600, "private": 0o700, "": 0o750} {
		path = filepath.Join(tree, path)
		if mode == 0o600 {
			try(t, os.WriteFile(path, []byte("key"), mode))
		}
		try(t, os.Chmod(path, mode))
	}
	for _, path := range []string{"f", "private/key", "private", ""} {
		try(t, os.Chtimes(filepath.Join(tree, path), when, when))
	}
	m.run(0, "ingest", "-q", "--tag", "listed", tree)
	m.run(0, "ingest", "-q", "--no-metadata", "--tag", "bare", tree)
	mtime := time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)
	type want struct {
		path string
		mode os.FileMode
		time time.Time
	}
	for _, tt := range []struct {
		args []string
		want []want
	}{
		{[]string{"listed"}, []want{{"f", 0o640, when}, {"private/key", 0o600, when}, {"private", 0o700, when}, {"", 0o750, when}}},
		{[]string{"listed:private"}, []want{{"key", 0o600, when}, {"", 0o700, when}}},
		{[]string{"--mtime", mtime.Format(time.RFC3339), "listed"}, []want{{"f", 0o640, mtime}, {"", 0o750, mtime}}},
		{[]string{"--metadata=none", "listed"}, []want{{"f", 0o444, time.Time{}}, {"private", 0o555, time.Time{}}}},
		{[]string{"bare"}, []want{{"f", 0o444, time.Time{}}, {"private/key", 0o444, time.Time{}}}},
		{nil, []want{{"tags/listed/f", 0o640, when}, {"tags/listed", 0o750, when}, {"tags/bare/f", 0o444, time.Time{}}, {"tags", 0o555, time.Time{}}}},
	} {
		c, _ := m.start(append(tt.args, m.mnt)...)
		for _, w := range tt.want {
			fi, err := os.Stat(filepath.Join(m.mnt, w.path))
			try(t, err)
			if fi.Mode().Perm() != w.mode {
				t.Errorf("%q: %s has mode %o, want %o", tt.args, w.path, fi.Mode().Perm(), w.mode)
			}
			if recent := time.Since(fi.ModTime()) < time.Hour; w.time.IsZero() && !recent || !w.time.IsZero() && !fi.ModTime().Equal(w.time) {
				t.Errorf("%q: %s has the time %v, want %v", tt.args, w.path, fi.ModTime(), w.time)
			}
		}
		m.run(0, "umount", m.mnt)
		m.ended(c, 0)
	}
}
