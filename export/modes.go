package export

import (
	"io/fs"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// newMode returns the mode with which the file n is made, less the umask. One that replaces another, which old
// describes, is nobody else's to read until inherit.
func (e *exporter) newMode(n *store.Node, old *unix.Stat_t) fs.FileMode {
	switch {
	case old != nil && e.keepsMode(n):
		return 0o600
	case n.Executable:
		return e.o.ExecMode
	}
	return e.o.FileMode
}

// keepsMode reports whether n keeps the mode of the file that it replaces, as nobody asked for another.
func (e *exporter) keepsMode(n *store.Node) bool {
	if n.Executable {
		return e.keepsExecMode
	}
	return e.keepsFileMode
}

// inherit gives the file fd, which has the contents of n, the owner, group and mode of the file that it replaces, which
// old describes. Whoever is not root does without what only root can give. Bits that lend the rights of an owner or group
// to those who run a file were given to other contents, and are dropped.
func (e *exporter) inherit(fd int, n *store.Node, old *unix.Stat_t) error {
	is, err := statFile(fd)
	if err != nil {
		return err
	}
	if is.Uid != old.Uid || is.Gid != old.Gid {
		_ = posix.Retry(func() error { return giveTo(fd, old) }) // what came of it is seen below
		if is, err = statFile(fd); err != nil {
			return err
		}
	}
	if !e.keepsMode(n) {
		return nil
	}
	mode := e.withExec(uint32(old.Mode)&0o777, n.Executable)
	if is.Gid != old.Gid { // what one group had is not for another
		mode &^= 0o070 &^ (mode & 0o007 << 3)
	}
	return chmodFile(fd, mode)
}

// giveTo gives the file fd the owner and group that old has. Whoever is not root can only give it a group of their own.
func giveTo(fd int, old *unix.Stat_t) error {
	if unix.Geteuid() != 0 {
		return unix.Fchown(fd, -1, int(old.Gid))
	}
	return unix.Fchown(fd, int(old.Uid), int(old.Gid))
}

// withExec returns mode with the executable bits that a file should have: if any, the owner's, and those of ExecMode
// for whom the file can be read by, which is what the umask left. A mode that is right already is returned as it is.
func (e *exporter) withExec(mode uint32, executable bool) uint32 {
	switch {
	case executable == (mode&0o100 != 0):
		return mode
	case executable:
		return mode | 0o100 | mode&0o444>>2&uint32(e.o.ExecMode)
	}
	return mode &^ 0o111
}
