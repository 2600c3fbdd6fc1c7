package care

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

func (st Store) isLink(name string) bool {
	fi, err := st.Fs.Stat(name)
	return err == nil && fi.Mode().Type() == fs.ModeSymlink
}

// behind returns what a symbolic link in the store leads to.
func (st Store) behind(name string) (path string, fi fs.FileInfo, err error) {
	if path, err = filepath.EvalSymlinks(st.Fs.Path(name)); err != nil {
		return "", nil, err
	}
	fi, err = os.Stat(path)
	return path, fi, err
}

// mendLink sees to a link that has taken the place of a folder. One to another folder in the store is as good as the
// folder. Where one leads to the packs or the indexes elsewhere, all is there, and only its owner can say why they were
// moved.
func (r *repair) mendLink(dir string) error {
	if _, err := r.st.Fs.ReadDir(dir); err == nil {
		return nil
	}
	path, fi, err := r.st.behind(dir)
	leads := err == nil && fi.IsDir()
	switch {
	case dir == sealed.TagsDir && leads:
		r.linked = r.tagsBehind()
	case leads && dir != pack.TempDir:
		return fmt.Errorf("%s: a symbolic link to %s: put that folder in its place, or remove the link to give it up",
			r.st.Fs.Path(dir), path)
	}
	if err := r.setAside(dir, "not a folder"); err != nil {
		return err
	}
	return r.remake(dir)
}

// tagsBehind returns the files of tags in the folder to which a link in the place of the tags leads.
func (r *repair) tagsBehind() map[string][]byte {
	path, _, err := r.st.behind(sealed.TagsDir)
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
		if e.Name() != live.LostName && (err != nil || strings.ToLower(e.Name()) != e.Name()) {
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
