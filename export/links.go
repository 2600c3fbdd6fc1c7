package export

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// links restores hard links: names that the listing says are one file become one file again. The first name of a file
// that is written gets a second name in a directory of its own, the stage, which is in the destination until the export
// ends. All other names are linked from there, so it does not matter where the first is, and who may search its
// directory by now. A zero links makes none.
type links struct {
	mu     sync.Mutex
	groups map[linkKey]*linkGroup
	top    *dir // the destination
	stage  *dir
	name   string // of stage in top
	next   atomic.Uint64
}

// linkKey identifies a file. Names are one file only if the tree has the same contents for them, whatever the listing
// says.
type linkKey struct {
	device, inode uint64
	digest        store.Digest
	executable    bool
}

// linkGroup is the names of one file. Whoever makes one of them locks it.
type linkGroup struct {
	mu     sync.Mutex
	staged string // its name in the stage, or ""
	broken error  // why it has none
	id     fileID // of the file; zero if there is none yet
	up     *trail // where a name of it was before the export; nil if there was none
	name   string
}

// fileID identifies a file of the destination.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

// begin makes links in d, the destination, until end.
func (l *links) begin(d *dir) { l.top, l.groups = d, make(map[linkKey]*linkGroup) }

// of returns the group of n, or nil if n is no file of several names.
func (l *links) of(n *store.Node, facts *listing.Entry) *linkGroup {
	if facts == nil || facts.Links < 2 || n.Kind != store.KindFile || l.top == nil {
		return nil
	}
	key := linkKey{facts.Device, facts.Inode, n.Digest, n.Executable}
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[key]
	if g == nil {
		g = new(linkGroup)
		l.groups[key] = g
	}
	return g
}

// open returns the stage, and makes it if there is none.
func (l *links) open() (*dir, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != nil {
		return l.stage, nil
	}
	if err := l.top.borrow(); err != nil {
		return nil, err
	}
	name := tempName("")
	stage, err := l.top.mkdir(name, 0o700)
	if err != nil {
		return nil, err
	}
	l.stage, l.name = stage, name
	return stage, nil
}

// end removes the stage.
func (l *links) end() error {
	if l.stage == nil {
		return nil
	}
	l.stage.close()
	l.stage = nil
	return removeTemporary(l.top, l.name)
}

// add gives the file name of d another name in the stage.
func (l *links) add(g *linkGroup, dirfd int, name string) error {
	stage, err := l.open()
	if err != nil {
		return err
	}
	staged := strconv.FormatUint(l.next.Add(1), 10)
	if err := linkAt(dirfd, name, stage.fd, staged); err != nil {
		return err
	}
	g.staged, g.broken = staged, nil
	return nil
}

// reach is add for a file whose name was there before the export. Nothing is linked if that is another file by now.
func (l *links) reach(g *linkGroup) error {
	fd, err := l.descend(g.up)
	if err != nil {
		return err
	}
	defer closeFile(fd)
	var st unix.Stat_t
	if err := posix.Retry(func() error { return unix.Fstatat(fd, g.name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return err
	}
	if idOf(&st) != g.id {
		return unix.ESTALE
	}
	return l.add(g, fd, g.name)
}

// descend opens a directory of the destination, by the names that lead to it.
func (l *links) descend(at *trail) (fd int, err error) {
	if at.up == nil {
		return posix.OpenDir(l.top.fd, ".")
	}
	up, err := l.descend(at.up)
	if err != nil {
		return -1, err
	}
	defer closeFile(up)
	return posix.OpenDir(up, at.name)
}

func linkAt(fromDir int, from string, toDir int, to string) error {
	return posix.Retry(func() error { return unix.Linkat(fromDir, from, toDir, to, 0) })
}

// writeLinked is write for a file of several names.
func (e *exporter) writeLinked(
	g *linkGroup, d *dir, name string, up *trail, n *store.Node, old *unix.Stat_t, facts *listing.Entry,
) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.id != (fileID{}) {
		err := e.linkTo(g, d, name)
		if err == nil {
			e.found(up, n, OpLink)
			return nil
		}
		if err == unix.EEXIST {
			return err
		}
		e.complain(up, n.Name, fmt.Errorf("hard link: %w", err))
	}
	if err := e.writeNew(d, name, up, n, old, facts); err != nil {
		return err
	}
	st, _, err := d.lstat(name)
	if err != nil {
		return err
	}
	if err := e.links.add(g, d.fd, name); err == nil {
		g.id = idOf(&st)
	} else if g.staged == "" {
		g.broken, g.id = err, idOf(&st)
	}
	return nil
}

// linkTo makes name in d another name of the file of g.
func (e *exporter) linkTo(g *linkGroup, d *dir, name string) error {
	if g.staged == "" && g.broken == nil {
		g.broken = e.links.reach(g)
	}
	if g.staged == "" {
		return g.broken
	}
	return linkAt(e.links.stage.fd, g.staged, d.fd, name)
}

// relink makes name in d, which is another file, a name of the file of g.
func (e *exporter) relink(g *linkGroup, d *dir, name string) error {
	if err := d.borrow(); err != nil {
		return err
	}
	temp := tempName("")
	if err := e.linkTo(g, d, temp); err != nil {
		return err
	}
	err := d.rename(temp, d, name)
	if err != nil {
		_ = d.unlink(temp)
	}
	return err
}

// keepName is keep. A file of several names can stay only if it is the same file as those that were met before.
func (e *exporter) keepName(
	d *dir, name string, up *trail, n *store.Node, st *unix.Stat_t, facts *listing.Entry,
) (bool, error) {
	g := e.links.of(n, facts)
	if g == nil {
		return e.keep(d, name, up, n, st, facts)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.id == idOf(st):
		e.found(up, n, "")
		return true, nil
	case g.id != (fileID{}) && g.broken == nil && e.o.DryRun:
		e.found(up, n, OpLink)
		return true, nil
	case g.id != (fileID{}) && g.broken == nil:
		err := e.relink(g, d, name)
		if err == nil {
			e.found(up, n, OpLink)
			return true, nil
		}
		e.complain(up, n.Name, fmt.Errorf("hard link: %w", err))
	}
	kept, err := e.keep(d, name, up, n, st, facts)
	if err != nil || !kept {
		return false, err
	}
	if g.id == (fileID{}) {
		is, _, err := d.lstat(name)
		g.id, g.up, g.name = idOf(&is), up, name
		return true, err
	}
	return true, nil
}
