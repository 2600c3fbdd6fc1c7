package export

import (
	"io/fs"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// newMode returns the mode to make the file n with, before the umask. A file that is to inherit its mode from the one
// that it replaces, which old describes, is readable by its owner only until then. So is one that will belong to somebody
// else, or that will have an ACL.
func (e *exporter) newMode(n *store.Node, old *unix.Stat_t, facts *listing.Entry) fs.FileMode {
	switch {
	case facts != nil && e.keepsMode(n):
		mode := e.modeOf(n, facts, 0, false) & 0o777
		if e.o.Owner || e.o.Xattrs {
			mode = mode&0o600 | 0o200 // attributes can be set only if the mode allows to write
		}
		return fs.FileMode(mode)
	case old != nil && e.keepsMode(n):
		return 0o600
	case n.Executable:
		return e.o.ExecMode
	}
	return e.o.FileMode
}

// keepsMode reports whether n gets the mode of the listing, or keeps that of the file that it replaces, because the
// options set no other.
func (e *exporter) keepsMode(n *store.Node) bool {
	switch {
	case n.Kind == store.KindDirectory:
		return e.keepsDirMode
	case n.Executable:
		return e.keepsExecMode
	}
	return e.keepsFileMode
}

// modeOf returns the mode that n should have by the listing. has is the mode it has. Only an entry that has got its owner
// gets setuid and setgid; any other keeps what it has of these.
func (e *exporter) modeOf(n *store.Node, facts *listing.Entry, has uint32, owned bool) uint32 {
	mode := has
	if e.keepsMode(n) {
		mode = facts.Mode&0o1777 | has&0o6000
		if owned {
			mode = facts.Mode
		}
	}
	if n.Kind == store.KindFile {
		mode = e.withExec(mode, n.Executable)
	}
	return mode
}

// inherit gives the file fd, which has the contents of n, the owner, group and mode of the file that it replaces. old
// describes that file. A caller other than root gives what it can. The set-user-ID and set-group-ID bits are dropped,
// because they were granted to other contents. If facts is not nil, the mode is that of the listing instead.
func (e *exporter) inherit(fd int, n *store.Node, old *unix.Stat_t, facts *listing.Entry) error {
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
	if !e.keepsMode(n) || facts != nil {
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
