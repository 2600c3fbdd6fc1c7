package export

import (
	"io/fs"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// newMode returns the mode to make the file n with, before the umask. A file that is to inherit its mode from the one
// that it replaces, which old describes, is readable by its owner only until then.
func (e *exporter) newMode(n *store.Node, old *unix.Stat_t) fs.FileMode {
	switch {
	case old != nil && e.keepsMode(n):
		return 0o600
	case n.Executable:
		return e.o.ExecMode
	}
	return e.o.FileMode
}

// keepsMode reports whether n keeps the mode of the file that it replaces, because the options set no other.
func (e *exporter) keepsMode(n *store.Node) bool {
	if n.Executable {
		return e.keepsExecMode
	}
	return e.keepsFileMode
}

// inherit gives the file fd, which has the contents of n, the owner, group and mode of the file that it replaces. old
// describes that file. A caller other than root gives what it can. The set-user-ID and set-group-ID bits are dropped,
// because they were granted to other contents.
func (e *exporter) inherit(fd int, n *store.Node, old *unix.Stat_t) error {
	is, err := statFile(fd)
	if err != nil {
		return err
	}
	if is.Uid != old.Uid || is.Gid != old.Gid {
		_ = posix.Retry(func() error { return giveTo(fd, old) }) // the result shows below
		if is, err = statFile(fd); err != nil {
			return err
		}
	}
	if !e.keepsMode(n) {
		return nil
	}
	mode := e.withExec(uint32(old.Mode)&0o777, n.Executable)
	if is.Gid != old.Gid { // one group's permissions are not for another group
		mode &^= 0o070 &^ (mode & 0o007 << 3)
	}
	return chmodFile(fd, mode)
}

// giveTo gives the file fd the owner and group of old. A caller other than root sets only the group.
func giveTo(fd int, old *unix.Stat_t) error {
	if unix.Geteuid() != 0 {
		return unix.Fchown(fd, -1, int(old.Gid))
	}
	return unix.Fchown(fd, int(old.Uid), int(old.Gid))
}

// withExec returns mode with the executable bits that a file should have. For an executable file these are the owner's,
// and those of ExecMode for everybody who can read the file, as the umask decided. A right mode is returned unchanged.
func (e *exporter) withExec(mode uint32, executable bool) uint32 {
	switch {
	case executable == (mode&0o100 != 0):
		return mode
	case executable:
		return mode | 0o100 | mode&0o444>>2&uint32(e.o.ExecMode)
	}
	return mode &^ 0o111
}
