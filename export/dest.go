package export

import (
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
		return e.create(parent, name, root)
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
		return e.replace(parent, name, nil, root, []string{name})
	case hasType(&st, unix.S_IFLNK):
		return errors.New("is a symlink")
	}
	return unix.ENOTDIR
}

// splitDest returns the path of the directory that dest is in, and its name there. The name is "." where it has none of
// its own, and the path then that of dest itself.
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

// exportInto writes root as the directory d, which is there: as name in parent, or parent is nil.
func (e *exporter) exportInto(parent, d *dir, name string, root *store.Node) error {
	if root.Kind != store.KindDirectory {
		return unix.EISDIR
	}
	if e.o.Overwrite {
		at, nodes, err := e.enter(nil, root)
		if err != nil {
			return err
		}
		if err := e.preflight(d, at, nodes); err != nil {
			return err
		}
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
	switch {
	case err != nil:
		return err
	case e.o.DryRun:
		return e.count(nil, root)
	case replaceable:
		return e.replaceEmpty(parent, name, root, &st)
	}
	return e.fillInPlace(d, root)
}

// canReplace reports whether the empty directory d in parent can give way to another by rename, and nobody is likely to
// mind: whoever works in d would find itself in a directory that is gone, and another owner or group, or who has access
// by a list, would lose it.
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

// hasGroupOfNew reports whether the directory that is describes has the group, and gives it to what is made in it or
// not, as one would that is made now in the directory up.
func hasGroupOfNew(is, up *unix.Stat_t) bool {
	group := uint32(unix.Getegid())
	inherits := up.Mode & unix.S_ISGID
	if inherits != 0 {
		group = up.Gid
	}
	return is.Gid == group && is.Mode&unix.S_ISGID == inherits
}

// create writes root beside name in parent, which is not taken, and renames it to that when it is whole.
func (e *exporter) create(parent *dir, name string, root *store.Node) error {
	if e.o.DryRun {
		return e.count(nil, root)
	}
	temp := tempName(name)
	err := e.write(parent, temp, nil, root, nil)
	if err == nil {
		err = e.ctx.Err()
	}
	if err == nil {
		err = parent.renameNew(temp, parent, name)
	}
	if err != nil {
		e.discard(parent, temp)
	}
	return err
}

// replaceEmpty is create where name is taken by an empty directory that old describes. Its mode is taken over in the
// end; until then nobody else can look into what may be private.
func (e *exporter) replaceEmpty(parent *dir, name string, root *store.Node, old *unix.Stat_t) error {
	at, nodes, err := e.enter(nil, root)
	if err != nil {
		return err
	}
	temp := tempName(name)
	d, err := parent.mkdir(temp, 0o700)
	if err != nil {
		return err
	}
	defer d.close()
	e.done.met(root.Kind, true)
	e.notify(OpMkdir, nil, "")
	if err = e.fill(d, at, nodes); err == nil {
		err = d.setTimes(".", e.times)
	}
	if err == nil {
		err = d.chmod(permissions(old))
	}
	if err == nil {
		err = parent.rename(temp, parent, name)
	}
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		err = ErrNotEmpty // by now
	}
	if err != nil {
		e.discard(parent, temp)
	}
	return err
}

// fillInPlace writes root into a temporary directory in d, which is empty, and moves its entries up when it is whole.
func (e *exporter) fillInPlace(d *dir, root *store.Node) (err error) {
	at, nodes, err := e.enter(nil, root)
	if err != nil {
		return err
	}
	if err := d.setTimes(".", e.times); err != nil { // as at the end, when it would be too late
		return fmt.Errorf("its time: %w", err)
	}
	if err := d.borrow(); err != nil {
		return err
	}
	defer func() { err = d.giveBack(err) }()
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
	return d.setTimes(".", e.times)
}

// moveUp moves nodes from one directory to another, or none of them.
func moveUp(from, to *dir, at *path, nodes store.Directory) (err error) {
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

// moveEntry moves an entry. A directory must be writable for that, since its parent is an entry in it.
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
	if cerr := d.chmod(permissions(&st)); err == nil {
		err = cerr
	}
	return err
}

// tempName returns a name that nothing has, beside name or, if that is empty, in a directory of the destination.
func tempName(name string) string {
	if name != "" {
		name = "." + name[:min(len(name), 200)]
	}
	return name + ".castar-" + rand.Text()
}
