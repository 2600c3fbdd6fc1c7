package packed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/record"
)

// lostName is a file in tags/ that is no tag. It says that there were tags of which nothing is known, so that nobody can
// say what is dead. A program that does not know it takes it for a damaged tag, and removes nothing either.
const lostName = "lost"

const lostPath = tagsDir + "/" + lostName

// lostMark is the JSON of the line in it.
type lostMark struct {
	Lost string    `json:"lost"` // how
	Time time.Time `json:"time"` // when it was found out
}

// encodeLost returns the file.
func encodeLost(how string) ([]byte, error) {
	return record.OneLine.Encode(lostMark{how, time.Now()}, "")
}

// lost returns the error that says that tags were lost, or nil where none were.
func (t tags) lost() error {
	m, err := t.readLost()
	reason := store.ErrTagsLost
	switch {
	case err != nil && t.missing(lostPath):
		return nil
	case errors.Is(err, store.ErrNewer):
		return err
	case err == nil && m.Lost != "":
		reason = fmt.Errorf("%w: %s", reason, m.Lost)
	}
	return &store.CorruptError{Where: t.st.fs.Path(lostPath), Err: reason}
}

// readLost reads the file.
func (t tags) readLost() (m lostMark, err error) {
	b, err := readSmall(t.st.fs, lostPath)
	if err != nil {
		return m, err
	}
	if _, err = record.OneLine.Decode(b, &m); err != nil {
		err = record.At(t.st.fs.Path(lostPath), err)
	}
	return m, err
}

// forgetLost removes what says that tags were lost.
func (t tags) forgetLost() error {
	if t.missing(lostPath) {
		return nil
	}
	if err := t.st.fs.Remove(lostPath); err != nil {
		return err
	}
	return t.st.fs.SyncDir(tagsDir)
}

// isLink reports whether a name in the store is a symbolic link.
func (st *Store) isLink(name string) bool {
	fi, err := st.fs.Stat(name)
	return err == nil && fi.Mode().Type() == fs.ModeSymlink
}

// behind returns what a symbolic link in the store leads to.
func (st *Store) behind(name string) (path string, fi fs.FileInfo, err error) {
	if path, err = filepath.EvalSymlinks(st.fs.Path(name)); err != nil {
		return "", nil, err
	}
	fi, err = os.Stat(path)
	return path, fi, err
}

// mendLink sees to a link that has taken the place of a folder. One to another folder in the store is as good as the
// folder. Where one leads to the packs or the indexes elsewhere, all is there, and only its owner can say why they were
// moved.
func (r *repair) mendLink(dir string) error {
	if _, err := r.st.fs.ReadDir(dir); err == nil {
		return nil
	}
	path, fi, err := r.st.behind(dir)
	leads := err == nil && fi.IsDir()
	switch {
	case dir == tagsDir && leads:
		r.linked = r.tagsBehind()
	case leads && dir != pack.TempDir:
		return fmt.Errorf("%s: a symbolic link to %s: put that folder in its place, or remove the link to give it up",
			r.st.fs.Path(dir), path)
	}
	if err := r.setAside(dir, "not a folder"); err != nil {
		return err
	}
	return r.remake(dir)
}

// tagsBehind returns the files of tags in the folder to which a link in the place of the tags leads.
func (r *repair) tagsBehind() map[string][]byte {
	path, _, err := r.st.behind(tagsDir)
	if err != nil {
		return nil
	}
	fsys, err := durable.Dir(path)
	if err != nil {
		return nil
	}
	defer fsys.Close()
	entries, err := fsys.ReadDir(".")
	if err != nil {
		return nil
	}
	found := make(map[string][]byte)
	for _, e := range entries {
		_, err := store.ParseDigest(e.Name())
		if e.Name() != lostName && (err != nil || strings.ToLower(e.Name()) != e.Name()) {
			continue
		}
		b, err := durable.ReadFile(fsys, e.Name(), record.Max)
		if err != nil {
			return nil
		}
		found[e.Name()] = b
	}
	return found
}

// fileBehind returns the contents of the file to which a link in the place of a file leads.
func (r *repair) fileBehind(name string) ([]byte, bool) {
	if !r.st.isLink(name) {
		return nil, false
	}
	path, fi, err := r.st.behind(name)
	if err != nil || !fi.Mode().IsRegular() {
		return nil, false
	}
	b, err := os.ReadFile(path)
	return b, err == nil
}
