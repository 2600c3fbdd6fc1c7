package export

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"castar/store"

	"golang.org/x/sys/unix"
)

// export writes root as dest. An error that is not about an entry of the tree is about dest.
func (e *exporter) export(root *store.Node, dest string) error {
	err := e.exportTo(root, dest)
	var named *Error
	if err == nil || errors.As(err, &named) || e.ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%s: %w", store.Quote(dest), err)
}

func (e *exporter) exportTo(root *store.Node, dest string) error {
	parentPath, name := splitDest(dest)
	parent, err := openPath(parentPath)
	if err != nil {
		return err
	}
	defer parent.close()
	if name == "." {
		return e.exportInto(nil, parent, name, root)
	}
	st, exists, err := parent.lstat(name)
	switch {
	case err != nil:
		return err
	case !exists:
		if err := e.checkReflink(parent); err != nil {
			return err
		}
		return e.create(parent, name, root, nil)
	case hasType(&st, unix.S_IFDIR):
		child, err := parent.open(name)
		if err != nil {
			return err
		}
		defer child.close()
		return e.exportInto(parent, child, name, root)
	case !e.o.Overwrite:
		return unix.EEXIST // fs.ErrExist
	case root.Kind != store.KindDirectory:
		if err := e.checkReflink(parent); err != nil {
			return err
		}
		return e.mergeEntry(parent, name, nil, root, []string{name})
	case hasType(&st, unix.S_IFLNK):
		return errors.New("is a symbolic link")
	}
	return unix.ENOTDIR
}

// splitDest returns the path of the directory that dest is in, and the name of dest there. If dest has no name of its
// own, the name is "." and the path is that of dest itself.
func splitDest(dest string) (parent, name string) {
	trimmed := strings.TrimRight(dest, "/")
	i := strings.LastIndexByte(trimmed, '/')
	parent, name = trimmed[:i+1], trimmed[i+1:]
	switch {
	case dest == "":
		return "", "." // which opens nothing: no such file or directory
	case name == "" || name == "." || name == "..":
		return dest, "."
	case parent == "":
		parent = "."
	}
	return parent, name
}

// exportInto writes root as the existing directory d, which is name in parent. Parent may be nil.
func (e *exporter) exportInto(parent, d *dir, name string, root *store.Node) error {
	if root.Kind != store.KindDirectory {
		return unix.EISDIR
	}
	if err := e.checkReflink(d); err != nil {
		return err
	}
	if e.o.Overwrite {
		at, nodes, err := e.enter(nil, root)
		if err != nil {
			return err
		}
		if err := e.preflight(d, at, nodes); err != nil {
			return err
		}
		e.list(at, nodes)
		e.done.met(root.Kind, false)
		return e.merge(d, at, nodes)
	}
	names, err := d.names()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return ErrNotEmpty
	}
	replaceable, err := canReplace(parent, d)
	if err != nil {
		return err
	}
	st, err := d.stat()
	if err != nil {
		return err
	}
	if replaceable || e.o.DryRun {
		return e.create(parent, name, root, &st)
	}
	return e.fillInPlace(d, root)
}

// canReplace reports whether a rename can replace the empty directory d in parent without harm. A process whose working
// directory is d would be left in a removed directory. Another owner or group, or users with access by a list, would
// lose d.
func canReplace(parent, d *dir) (bool, error) {
	if parent == nil || parent.writable() != nil {
		return false, nil
	}
	mounted, err := d.isMount(parent)
	if mounted || err != nil || hasAttributes(d.fd) {
		return false, err
	}
	is, err := d.stat()
	if err != nil || is.Uid != uint32(unix.Geteuid()) {
		return false, err
	}
	up, err := parent.stat()
	if err != nil || !hasGroupOfNew(&is, &up) {
		return false, err
	}
	var cwd unix.Stat_t
	err = unix.Stat(".", &cwd) // an error: no working directory, so d is not it
	return err != nil || cwd.Dev != is.Dev || cwd.Ino != is.Ino, nil
}

// hasGroupOfNew reports whether a directory has the group, and the rule for the group of new entries, that a directory
// made now in up would have. is and up describe the two directories.
func hasGroupOfNew(is, up *unix.Stat_t) bool {
	group := uint32(unix.Getegid())
	inherits := up.Mode & unix.S_ISGID
	if inherits != 0 {
		group = up.Gid
	}
	return is.Gid == group && is.Mode&unix.S_ISGID == inherits
}

// create writes root beside name in parent, and renames it to name when it is complete. The name is that of an empty
// directory, which old describes, or old is nil and the name is free.
func (e *exporter) create(parent *dir, name string, root *store.Node, old *unix.Stat_t) error {
	if e.o.DryRun {
		return e.count(nil, root)
	}
	temp := tempName(name)
	err := e.write(parent, temp, nil, root, old, e.factsOf(nil, root))
	if err == nil {
		err = e.ctx.Err()
	}
	switch {
	case err != nil:
	case old == nil:
		err = parent.renameNew(temp, parent, name)
	default:
		err = parent.rename(temp, parent, name)
		if err == unix.ENOTEMPTY || err == unix.EEXIST {
			err = ErrNotEmpty // somebody has just written to it
		}
	}
	if err != nil {
		e.discard(parent, temp)
	}
	return err
}

// fillInPlace writes root to a temporary directory in d, which is empty, and moves its entries up when it is complete.
func (e *exporter) fillInPlace(d *dir, root *store.Node) (err error) {
	at, nodes, err := e.enter(nil, root)
	if err != nil {
		return err
	}
	if err := d.setTimes(".", e.times); err != nil { // an error at the end would come too late
		return fmt.Errorf("its time: %w", err)
	}
	if err := d.borrow(); err != nil {
		return err
	}
	defer func() { err = d.giveBack(err) }()
	e.list(at, nodes)
	temp := tempName("")
	from, err := d.mkdir(temp, 0o700)
	if err != nil {
		return err
	}
	defer from.close()
	if err = e.fill(from, at, nodes); err == nil {
		err = moveUp(from, d, at, nodes)
	}
	if err == nil {
		err = d.rmdir(temp)
	}
	if err != nil {
		e.discard(d, temp)
		return err
	}
	e.done.met(root.Kind, true)
	e.notify(OpMkdir, nil, "")
	if err := d.giveBack(nil); err != nil {
		return err
	}
	return e.finish(d, at)
}

// moveUp moves all nodes from one directory to another. If one cannot be moved, it moves the others back.
func moveUp(from, to *dir, at *trail, nodes store.Directory) (err error) {
	for i := range nodes {
		if err = moveEntry(from, to, &nodes[i]); err == nil {
			continue
		}
		err = at.wrap(nodes[i].Name, err)
		for j := range i {
			if rerr := moveEntry(to, from, &nodes[j]); rerr != nil {
				err = fmt.Errorf("%w; and %s was left there: %v", err, store.Quote(nodes[j].Name), rerr)
			}
		}
		return err
	}
	return nil
}

// moveEntry moves an entry. A directory that moves must be writable, since its entry ".." changes.
func moveEntry(from, to *dir, n *store.Node) error {
	err := from.renameNew(n.Name, to, n.Name)
	if err != unix.EACCES || n.Kind != store.KindDirectory {
		return err
	}
	d, err := from.open(n.Name)
	if err != nil {
		return err
	}
	defer d.close()
	st, err := d.stat()
	if err != nil {
		return err
	}
	if err := d.chmod(permissions(&st) | 0o200); err != nil {
		return err
	}
	err = from.renameNew(n.Name, to, n.Name)
	return cmp.Or(err, d.chmod(permissions(&st)))
}

// tempName returns an unused name for a temporary entry beside name. If name is empty, the entry is inside the
// destination.
func tempName(name string) string {
	if name != "" {
		name = "." + name[:min(len(name), 200)]
	}
	return name + ".castar-" + rand.Text()
}
