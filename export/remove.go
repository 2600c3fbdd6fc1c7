package export

import (
	"errors"
	"fmt"

	"castar/store"

	"golang.org/x/sys/unix"
)

// errMount stops what would remove the contents of another file system.
var errMount = errors.New("is a mount point")

// errStore stops what would write or remove in the store that the tree comes from.
var errStore = errors.New("is the store itself")

// remover removes entries and all that is below them. It follows no symlink and stops at a mount point, for what is
// mounted in the destination is not part of it.
type remover struct {
	force bool // get into directories that their owner may not write in
	// check returns errStore for a directory that is to stay, and with it all that it is in. It may be nil.
	check func(*dir) error
	// entry is called for each entry, after those in it, and removes it by calling remove.
	entry func(up *path, name string, remove func() error) error
}

// remove removes the entry name of d, the directory up, but for the store in it: what Delete asks for.
func (e *exporter) remove(d *dir, up *path, name string) error {
	r := remover{check: e.checkStore, entry: func(up *path, name string, remove func() error) error {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if !e.o.DryRun {
			if err := remove(); err != nil {
				return err
			}
		}
		e.done.Deleted.Add(1)
		e.notify(OpDelete, up, name)
		return nil
	}}
	err := r.remove(d, up, name)
	if errors.Is(err, errStore) {
		return nil
	}
	return up.wrap(name, err)
}

// checkStore returns errStore if d is a directory that the store is in.
func (e *exporter) checkStore(d *dir) error {
	if len(e.store) == 0 {
		return nil
	}
	st, err := d.stat()
	for i := range e.store {
		if err == nil && e.store[i].Dev == st.Dev && e.store[i].Ino == st.Ino {
			err = errStore
		}
	}
	return err
}

// discard removes what an export that failed had written under a temporary name. The end of the context does not stop
// it: that is when it is needed.
func (e *exporter) discard(d *dir, name string) {
	r := remover{force: true, entry: func(_ *path, _ string, remove func() error) error { return remove() }}
	if err := r.remove(d, nil, name); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.left = fmt.Errorf("%s: %w", store.Quote(name), err)
	}
}

func (r *remover) remove(d *dir, up *path, name string) error {
	st, exists, err := d.lstat(name)
	if err != nil || !exists {
		return err
	}
	if !hasType(&st, unix.S_IFDIR) {
		return r.entry(up, name, func() error { return d.unlink(name) })
	}
	child, err := d.open(name)
	if err != nil {
		return err
	}
	mounted, err := child.isMount(d)
	if err == nil && mounted {
		err = errMount
	}
	if err == nil && r.check != nil {
		err = r.check(child)
	}
	if err != nil {
		child.close()
		return err
	}
	if err := d.within(child, func() error { return r.empty(child, &path{up: up, name: name}) }); err != nil {
		return err
	}
	return r.entry(up, name, func() error { return d.rmdir(name) })
}

// empty removes all that is in the directory d, which is at. Where the store is in it, all else goes.
func (r *remover) empty(d *dir, at *path) error {
	if r.force {
		if err := d.chmod(0o700); err != nil {
			return err
		}
	}
	names, err := d.names(-1)
	if err != nil {
		return err
	}
	var kept error
	for _, name := range names {
		err := r.remove(d, at, name)
		if errors.Is(err, errStore) {
			kept = err
		} else if err != nil {
			return at.wrap(name, err)
		}
	}
	return kept
}
