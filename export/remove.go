package export

import (
	"errors"
	"fmt"
	"slices"

	"castar/store"

	"golang.org/x/sys/unix"
)

// errMount is the error for a mount point that would be removed or replaced.
var errMount = errors.New("is a mount point")

// errStore is the error for writing or removing in the store that the tree comes from.
var errStore = errors.New("is the store itself")

// remover removes entries and everything below them. It follows no symlink. It stops at a mount point, because a mounted
// file system is not part of the destination.
type remover struct {
	force bool // change the mode of directories to enter them, because they are temporary
	// check returns errStore for a directory that must stay, with all its parents. It may be nil.
	check func(d *dir, at *trail, names []string) error
	// entry is called for each entry of d, after the entries below it. It removes the entry by calling remove.
	entry func(d *dir, up *trail, name string, remove func() error) error
}

// remove removes the entry name of d, the directory up. If spare is set, the store in it stays, and the directories that
// lead there; otherwise the store there is an error.
func (e *exporter) remove(d *dir, up *trail, name string, spare bool) error {
	r := remover{entry: e.removeEntry, check: func(d *dir, at *trail, names []string) error {
		err := e.checkStore(d, names)
		if err == errStore && spare && e.o.Spared != nil {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.o.Spared(at.up.join(at.name))
		}
		return err
	}}
	err := r.remove(d, up, name)
	if spare && errors.Is(err, errStore) {
		return nil
	}
	return up.wrap(name, err)
}

// removeEntry is the function entry of a remover that works for Delete.
func (e *exporter) removeEntry(d *dir, up *trail, name string, remove func() error) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if !e.o.DryRun {
		err := d.borrow()
		if err == nil {
			err = remove()
		}
		if err != nil {
			return err
		}
	}
	e.done.Deleted.Add(1)
	e.notify(OpDelete, up, name)
	return nil
}

// checkStore returns errStore if d, whose entries have these names, is a directory of the store.
func (e *exporter) checkStore(d *dir, names []string) error {
	for _, mark := range e.o.Landmarks {
		if !slices.Contains(names, mark.Hint()) {
			continue
		}
		if is, err := mark.In(d.fd); err != nil {
			return err
		} else if is {
			return errStore
		}
	}
	return nil
}

// discard removes the temporary entry of an export that failed. It runs even when the context has ended, because that is
// one of the reasons to fail.
func (e *exporter) discard(d *dir, name string) {
	if err := removeTemporary(d, name); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.left = fmt.Errorf("%s: %w", store.Quote(name), err)
	}
}

// removeTemporary removes the temporary entry name of d.
func removeTemporary(d *dir, name string) error {
	r := remover{force: true, entry: func(_ *dir, _ *trail, _ string, remove func() error) error { return remove() }}
	return r.remove(d, nil, name)
}

func (r *remover) remove(d *dir, up *trail, name string) error {
	st, exists, err := d.lstat(name)
	if err != nil || !exists {
		return err
	}
	if !hasType(&st, unix.S_IFDIR) {
		return r.entry(d, up, name, func() error { return d.unlink(name) })
	}
	child, err := d.open(name)
	if err != nil {
		return err
	}
	mounted, err := child.isMount(d)
	if err == nil && mounted {
		err = errMount
	}
	if err != nil {
		child.close()
		return err
	}
	if err := d.within(child, func() error { return r.empty(child, &trail{up: up, name: name}) }); err != nil {
		return err
	}
	return r.entry(d, up, name, func() error { return d.rmdir(name) })
}

// empty removes all entries of d, which stands at at. If the store is below d, everything else goes.
func (r *remover) empty(d *dir, at *trail) (err error) {
	if r.force {
		if err := d.chmod(0o700); err != nil {
			return err
		}
	}
	names, err := d.names()
	if err == nil && r.check != nil {
		err = r.check(d, at, names)
	}
	if err != nil {
		return err
	}
	defer func() { err = d.giveBack(err) }()
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
