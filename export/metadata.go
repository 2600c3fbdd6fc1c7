package export

import (
	"errors"
	"fmt"
	"math"
	"os/user"
	"strconv"
	"sync"
	"time"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// Reasons why a listing is not believed.
var (
	errUnlisted  = errors.New("the listing does not have it")
	errNotInTree = errors.New("the listing has it, and the tree does not")
)

// complain reports what could not be restored of the entry name of the directory up.
func (e *exporter) complain(up *trail, name string, err error) {
	if err == nil || e.o.Complain == nil {
		return
	}
	at := up.join(name)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.o.Complain(at, err)
}

// list reads what the listing says of the directory at and of its entries, nodes.
func (e *exporter) list(at *trail, nodes store.Directory) {
	if e.o.Listing == nil {
		return
	}
	report := func(err error) { e.complain(at.up, at.name, err) }
	isIn := func(name string, isDir bool) bool {
		n, ok := nodes.Find(name)
		if ok = ok && isDir == (n.Kind == store.KindDirectory); !ok && !e.o.Partial {
			e.complain(at, name, errNotInTree)
		}
		return ok
	}
	for name := range at.folder.Folders() {
		isIn(name, true)
	}
	lines, ok := at.folder.Lines(func(name string) bool { return isIn(name, false) }, report)
	at.lines = lines
	if !ok {
		report(errUnlisted)
	} else if err := lines.Self.Contradicts(at.node()); err != nil {
		report(err)
	} else {
		at.facts = &lines.Self
	}
}

// node returns the directory as a node that has its name and kind.
func (t *trail) node() *store.Node { return &store.Node{Name: t.name, Kind: store.KindDirectory} }

// factsOf returns what the listing says of n, a file or symlink of the directory up. It is nil if there is no listing, or
// one that says nothing of n or that the tree contradicts.
func (e *exporter) factsOf(up *trail, n *store.Node) *listing.Entry {
	if e.o.Listing == nil || n.Kind == store.KindDirectory || up != nil && up.lines == nil { // the last was said of up
		return nil
	}
	var facts listing.Entry
	var ok bool
	var err error
	if up != nil {
		facts, ok, err = up.lines.Find(n.Name)
	} else if lines, is := e.o.Listing.Lines(nil, func(err error) { e.complain(up, n.Name, err) }); is {
		facts, ok = lines.Self, true
	}
	if err == nil && !ok {
		err = errUnlisted
	}
	if err == nil {
		err = facts.Contradicts(n)
	}
	if err != nil {
		e.complain(up, n.Name, err)
		return nil
	}
	return &facts
}

// applyFacts gives the file or directory fd the owner, attributes and mode that facts says of n, an entry of up. It reports
// what it cannot give, and says whether it changed anything. If dry is set it changes nothing, and says whether it would.
func (e *exporter) applyFacts(fd int, up *trail, n *store.Node, facts *listing.Entry, dry bool) (changed bool) {
	st, err := statFile(fd)
	if err != nil {
		e.complain(up, n.Name, err)
		return dry
	}
	owned := false // and may have setuid
	if e.o.Owner {
		changed, err = e.own(&st, facts, dry, func(uid, gid int) error { return unix.Fchown(fd, uid, gid) })
		e.complain(up, n.Name, err)
		owned = err == nil
	}
	if e.o.Xattrs {
		changed = e.setXattrs(attributesOf(fd), up, n, facts, dry) || changed
	}
	if changed && !dry { // both may have changed the mode
		if st, err = statFile(fd); err != nil {
			e.complain(up, n.Name, err)
			return true
		}
	}
	mode := e.modeOf(n, facts, permissions(&st), owned)
	if mode == permissions(&st) {
		return changed
	}
	if !dry {
		if err := e.setMode(fd, mode); err != nil {
			e.complain(up, n.Name, fmt.Errorf("mode %04o: %w", mode, err))
			return changed
		}
	}
	return true
}

// setMode sets the mode of fd. The system may drop the bits for setuid and setgid without an error.
func (e *exporter) setMode(fd int, mode uint32) error {
	err := chmodFile(fd, mode)
	if err != nil || mode&0o6000 == 0 {
		return err
	}
	st, err := statFile(fd)
	if err == nil && permissions(&st) != mode {
		err = fmt.Errorf("the system set %04o", permissions(&st))
	}
	return err
}

// applySymlinkFacts is applyFacts for a symlink, which is name in d. A symlink has no mode.
func (e *exporter) applySymlinkFacts(d *dir, name string, up *trail, n *store.Node, facts *listing.Entry, dry bool) (changed bool) {
	if e.o.Owner {
		st, _, err := d.lstat(name)
		if err == nil {
			changed, err = e.own(&st, facts, dry, func(uid, gid int) error {
				return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
			})
		}
		e.complain(up, n.Name, err)
	}
	if e.o.Xattrs {
		changed = e.setXattrs(attributesIn(d.fd, name), up, n, facts, dry) || changed
	}
	return changed
}

// own gives an entry, which st describes, its owner and group.
func (e *exporter) own(st *unix.Stat_t, facts *listing.Entry, dry bool, chown func(uid, gid int) error) (changed bool, err error) {
	uid, gid := e.owners.user(facts), e.owners.group(facts)
	switch {
	case st.Uid == uid && st.Gid == gid:
		return false, nil
	case dry:
		return true, nil
	case uid == math.MaxUint32 || gid == math.MaxUint32: // which a chown takes for none
		err = unix.EINVAL
	default:
		if err = posix.Retry(func() error { return chown(int(uid), int(gid)) }); err == unix.EPERM && st.Gid != gid {
			if posix.Retry(func() error { return chown(-1, int(gid)) }) == nil && st.Uid == uid {
				err = nil
			}
		}
	}
	if err != nil {
		return false, fmt.Errorf("owner %d:%d: %w", uid, gid, err)
	}
	return true, nil
}

// owners finds the numbers of users and groups. It asks the system once for each name.
type owners struct{ users, groups sync.Map }

// user returns the number of an entry's owner: that of the name here, or else the one of the listing.
func (o *owners) user(facts *listing.Entry) uint32 {
	return numberOf(&o.users, facts.User, facts.UID, func(name string) string {
		if u, err := user.Lookup(name); err == nil {
			return u.Uid
		}
		return ""
	})
}

// group is user for the group.
func (o *owners) group(facts *listing.Entry) uint32 {
	return numberOf(&o.groups, facts.Group, facts.GID, func(name string) string {
		if g, err := user.LookupGroup(name); err == nil {
			return g.Gid
		}
		return ""
	})
}

// numberOf returns the number that lookup finds for a name, or else number.
func numberOf(known *sync.Map, name string, number uint32, lookup func(string) string) uint32 {
	if name == "" {
		return number
	}
	id, ok := known.Load(name)
	if !ok {
		if n, err := strconv.ParseUint(lookup(name), 10, 32); err == nil {
			id = uint32(n)
		}
		known.Store(name, id)
	}
	if n, ok := id.(uint32); ok {
		return n
	}
	return number
}

// timesOf returns the times of access and modification that an entry gets. That of access stays.
func timesOf(facts *listing.Entry) (ts [2]unix.Timespec, err error) {
	ts[1], err = unix.TimeToTimespec(time.Unix(facts.Seconds, int64(facts.Nanoseconds)))
	ts[0] = accessTime(ts[1])
	return ts, err
}

// hasOtherTime reports whether the entry that st describes has another time than it should. facts may be nil.
func (e *exporter) hasOtherTime(st *unix.Stat_t, facts *listing.Entry) bool {
	if e.times != nil || facts == nil {
		return e.times != nil && st.Mtim != e.times[1]
	}
	ts, err := timesOf(facts)
	return err != nil || st.Mtim != ts[1]
}

// setTime sets the time of n, an entry of up, which is name in d, or d itself if name is ".". fd is that of an open file,
// or -1. facts may be nil. An error about the listing is only reported.
func (e *exporter) setTime(d *dir, fd int, name string, up *trail, n *store.Node, facts *listing.Entry) error {
	if e.times != nil || facts == nil {
		return d.setTimes(name, e.times)
	}
	ts, err := timesOf(facts)
	switch {
	case err != nil:
	case fd >= 0:
		err = d.setOpenTimes(fd, name, &ts)
	default:
		err = d.setTimes(name, ts[:])
	}
	if err == nil && int64(int32(facts.Seconds)) != facts.Seconds { // file systems take the nearest time that they can
		st, _, serr := d.lstat(name)
		if err = serr; err == nil && st.Mtim.Sec != ts[1].Sec {
			err = unix.ERANGE
		}
	}
	if err != nil {
		e.complain(up, n.Name, fmt.Errorf("time %d: %w", facts.Seconds, err))
	}
	return nil
}

// isRight reports whether d has what the listing says of the directory at.
func (e *exporter) isRight(d *dir, at *trail) bool {
	st, err := d.stat()
	return err == nil && !e.hasOtherTime(&st, at.facts) && !e.applyFacts(d.fd, at.up, at.node(), at.facts, true)
}

// finish gives d, whose entries are complete, what the listing says of the directory at. The mode comes last, because it
// may not allow the rest.
func (e *exporter) finish(d *dir, at *trail) error {
	if at.facts == nil {
		return d.setTimes(".", e.times)
	}
	st, err := d.stat()
	if err == nil && e.hasOtherTime(&st, at.facts) {
		err = e.setTime(d, -1, ".", at.up, at.node(), at.facts)
	}
	if err == nil {
		e.applyFacts(d.fd, at.up, at.node(), at.facts, false)
	}
	return err
}
