package export

import (
	"cmp"
	"errors"
	"slices"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// errSpelling keeps one entry from overwriting another if the file system does not tell their names apart.
var errSpelling = errors.New("another entry has this name in a different spelling, and the file system does not tell them apart")

// merge turns the existing directory d into the directory at, and rewrites entries that differ.
//
// It first removes entries that are not in the tree. On a file system that ignores case, the entry to be removed may
// also be an entry of the tree in another case, which is then written again.
func (e *exporter) merge(d *dir, at *trail, nodes store.Directory) (err error) {
	names, err := d.names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	if err := e.checkStore(d, names); err != nil {
		return err
	}
	defer func() { err = d.giveBack(err) }()
	right := at.facts == nil || e.isRight(d, at)
	if at.up == nil {
		e.links.begin(d)
	}
	for _, name := range names {
		if _, ok := nodes.Find(name); ok || !e.o.Delete {
			continue
		}
		if err := e.remove(d, at, name, true); err != nil {
			return err
		}
	}
	err = e.each(at, d, nodes, func(n *store.Node) error { return e.mergeEntry(d, n.Name, at, n, names) })
	if at.up == nil {
		err = cmp.Or(err, e.links.end())
	}
	if err == nil && !right {
		e.done.Unchanged.Add(^uint64(0)) // it was counted when it was met
		e.done.Written.Add(1)
		e.notify(OpSet, at.up, at.name)
	}
	if err == nil && !e.o.DryRun {
		if err = d.giveBack(nil); err == nil { // otherwise it would undo what finish does
			err = e.finish(d, at)
		}
	}
	return err
}

// look describes the entry name of d, if it exists. It must be among names, the sorted names of d, or newer than they
// are, such as an entry that another export just made.
func (d *dir) look(name string, names []string) (st unix.Stat_t, exists bool, err error) {
	st, exists, err = d.lstat(name)
	if _, listed := slices.BinarySearch(names, name); err != nil || !exists || listed {
		return st, exists, err
	}
	if names, err = d.names(); err == nil && !slices.Contains(names, name) {
		err = errSpelling
	}
	return st, exists, err
}

// mergeEntry turns the entry name of d into n, an entry of up. names are the names in d.
func (e *exporter) mergeEntry(d *dir, name string, up *trail, n *store.Node, names []string) error {
	st, exists, err := d.look(name, names)
	if err != nil {
		return err
	}
	facts := e.factsOf(up, n)
	wasDir, isDir := hasType(&st, unix.S_IFDIR), n.Kind == store.KindDirectory
	switch {
	case !exists:
		return e.install(d, name, up, n, nil, facts)
	case wasDir && isDir:
		return e.mergeDirectory(d, up, n)
	case !wasDir && !isDir:
		if kept, err := e.keepName(d, name, up, n, &st, facts); kept || err != nil {
			return err
		}
	}
	return e.install(d, name, up, n, &st, facts)
}

// mergeDirectory turns the directory of d with the name of n into n, an entry of up.
func (e *exporter) mergeDirectory(d *dir, up *trail, n *store.Node) error {
	at, nodes, err := e.enter(up, n)
	if err != nil {
		return err
	}
	child, err := d.open(n.Name)
	if err != nil {
		return err
	}
	e.list(at, nodes)
	e.done.met(n.Kind, false)
	return d.within(child, func() error { return e.merge(child, at, nodes) })
}

// install writes n under a temporary name in d, and renames it to name. old describes the entry that has this name, or is
// nil. If one of the two is a directory and the other is not, the old entry is removed before the rename, which needs
// Delete. facts is that of write.
func (e *exporter) install(d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t, facts *listing.Entry) error {
	blocked := old != nil && hasType(old, unix.S_IFDIR) != (n.Kind == store.KindDirectory)
	if blocked && (!e.o.Delete || up == nil) {
		return inTheWay(n.Kind)
	}
	if e.o.DryRun {
		if blocked {
			if err := e.remove(d, up, name, false); err != nil {
				return err
			}
		}
		return e.count(up, n)
	}
	if up != nil { // otherwise d is outside the destination
		if err := d.borrow(); err != nil {
			return err
		}
	}
	if old != nil && !hasType(old, unix.S_IFREG) {
		old = nil // only files pass on their mode
	}
	temp := tempName("")
	err := e.write(d, temp, up, n, old, facts)
	if err == nil && blocked {
		err = e.remove(d, up, name, false)
	}
	if err == nil {
		err = d.rename(temp, d, name)
		if err == unix.EBUSY && posix.IsMountRoot(d.fd, name) {
			err = errMount
		}
	}
	if err != nil {
		e.discard(d, temp)
	}
	return err
}

// inTheWay is the error for an entry that is a directory while the node of kind is not, or the reverse.
func inTheWay(kind store.Kind) error {
	if kind == store.KindDirectory {
		return unix.ENOTDIR
	}
	return unix.EISDIR
}

// keep reports whether the entry name of d can stay because it is what n says. If so, it sets the executable bits and the
// time, or what facts says. An entry that needs such a change and must not be changed in place is not kept. st describes
// the entry, which is not a directory.
func (e *exporter) keep(d *dir, name string, up *trail, n *store.Node, st *unix.Stat_t, facts *listing.Entry) (bool, error) {
	kept, op := false, Op("")
	var err error
	switch {
	case n.Kind == store.KindSymlink && hasType(st, unix.S_IFLNK):
		if kept, err = d.pointsTo(name, n.Target); kept && facts != nil && e.applySymlinkFacts(d, name, up, n, facts, e.o.DryRun) {
			op = OpSet
		}
	case n.Kind == store.KindFile && hasType(st, unix.S_IFREG) && uint64(st.Size) == n.Size:
		kept, op, err = e.keepFile(d, name, up, n, facts)
	}
	late := e.hasOtherTime(st, facts)
	if err != nil || !kept || late && fixed(st) {
		return false, err
	}
	if late && !e.o.DryRun {
		if err := e.setTime(d, -1, name, up, n, facts); err != nil {
			return false, err
		}
	}
	if late && e.times == nil {
		op = cmp.Or(op, OpSet)
	}
	e.found(up, n, op)
	return true, nil
}

// found counts n, an entry of up that could stay. op is what was done to it, or "".
func (e *exporter) found(up *trail, n *store.Node, op Op) {
	if n.Kind == store.KindFile {
		e.done.Bytes.Add(n.Size)
	}
	e.done.met(n.Kind, op != "")
	if op != "" {
		e.notify(op, up, n.Name)
	}
}

// keepFile is the part of keep for all of a file but its time. op says what it changed.
func (e *exporter) keepFile(d *dir, name string, up *trail, n *store.Node, facts *listing.Entry) (kept bool, op Op, err error) {
	fd, err := posix.OpenFile(d.fd, name)
	if err == unix.EACCES || err == unix.ELOOP || err == unix.ENOENT {
		return false, "", nil // unreadable, or replaced just now: write it
	}
	if err != nil {
		return false, "", err
	}
	defer closeFile(fd)
	st, err := statFile(fd)
	if err != nil || !hasType(&st, unix.S_IFREG) {
		return false, "", err
	}
	if same, err := e.holds(fd, n); !same || err != nil {
		return false, "", err
	}
	mode := e.withExec(permissions(&st), n.Executable)
	if mode != permissions(&st) {
		op = OpChmod
	}
	switch {
	case facts != nil && !e.applyFacts(fd, up, n, facts, true):
		return true, "", nil
	case facts != nil:
		op = cmp.Or(op, OpSet)
	}
	switch {
	case op == "":
		return true, "", nil
	case fixed(&st):
		return false, "", nil
	case e.o.DryRun:
	case facts != nil:
		if !e.applyFacts(fd, up, n, facts, false) {
			op = ""
		}
	default:
		err = chmodFile(fd, mode)
	}
	return true, op, err
}

// fixed reports whether the file that st describes must not be changed in place: because it has other links, perhaps
// outside the destination, or because it belongs to another user and the caller is not root.
func fixed(st *unix.Stat_t) bool {
	euid := unix.Geteuid()
	return st.Nlink > 1 || euid != 0 && st.Uid != uint32(euid)
}

// compareSize is how many bytes of a file are read at once for comparing.
const compareSize = 256 << 10

// holds reports whether the file fd has the size and digest of n.
func (e *exporter) holds(fd int, n *store.Node) (bool, error) {
	buf := e.bufs.Get().(*[compareSize]byte)
	defer e.bufs.Put(buf)
	var h store.Hasher
	left := n.Size
	for {
		if err := e.ctx.Err(); err != nil {
			return false, err
		}
		got, err := posix.RetryValue(func() (int, error) { return unix.Read(fd, buf[:]) })
		if err != nil {
			return false, err
		}
		if got == 0 {
			return left == 0 && h.Sum() == n.Digest, nil
		}
		if uint64(got) > left {
			return false, nil
		}
		if left -= uint64(got); left == 0 && uint64(got) == n.Size {
			return store.Sum(buf[:got]) == n.Digest, nil // the whole file is in buf: Sum is faster
		}
		h.Write(buf[:got])
	}
}
