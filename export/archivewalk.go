package export

import (
	"context"
	"fmt"
	"path"
	"strings"

	"castar/store"
	"castar/store/listing"
)

// maxArchivePath is the longest path in a tar or zip archive, in bytes. No system takes a longer one.
const maxArchivePath = 32 << 10

// root makes the events of the whole archive.
func (a *archiver) root(root *store.Node) error {
	n := *root
	dir, name := path.Split(a.name)
	n.Name = name
	ev := archiveEvent{dir: dir, node: n, root: true}
	if n.Kind != store.KindDirectory {
		return a.add(ev, a.factsOf(nil, root))
	}
	at, nodes, err := a.enterListed(nil, root)
	if err != nil {
		return err
	}
	return a.directory(ev, at, nodes)
}

// early is a directory that was read ahead.
type early struct {
	at    *trail
	nodes store.Directory
	err   error
}

// directory makes the events of a directory, which is at, and of everything below it. It reads a few directories ahead.
func (a *archiver) directory(ev archiveEvent, at *trail, nodes store.Directory) error {
	ev.kind = eventEnter
	if err := a.add(ev, at.facts); err != nil {
		return err
	}
	prefix := ""
	if a.named && (ev.node.Name != "" || ev.dir != "") {
		prefix = ev.path() + "/"
	}
	var coming []chan early // directories among nodes[i:next]
	next := 0
	for i := range nodes {
		n := &nodes[i]
		if len(prefix)+len(n.Name) > maxArchivePath {
			return at.wrap(n.Name, fmt.Errorf("a path of more than %d bytes", maxArchivePath))
		}
		kid := archiveEvent{at: at, dir: prefix, node: *n}
		if n.Kind != store.KindDirectory {
			if err := a.add(kid, a.factsOf(at, n)); err != nil {
				return err
			}
			continue
		}
		var sub early
		isEarly := i < next
		if coming, next = a.readAhead(at, nodes, max(next, i+1), coming); isEarly {
			sub, coming = <-coming[0], coming[1:]
			<-a.ahead
		} else {
			sub.at, sub.nodes, sub.err = a.enterListed(at, n)
		}
		if sub.err != nil {
			return at.wrap(n.Name, sub.err)
		}
		if err := a.directory(kid, sub.at, sub.nodes); err != nil {
			return err
		}
	}
	ev.kind = eventLeave
	return a.add(ev, nil)
}

// readAhead begins to read directories among nodes, from an index on, as long as few are on their way. It adds them to those
// that are coming, and returns the index to go on from.
func (a *archiver) readAhead(at *trail, nodes store.Directory, from int, coming []chan early) ([]chan early, int) {
	for ; from < len(nodes); from++ {
		n := &nodes[from]
		if n.Kind != store.KindDirectory {
			continue
		}
		select {
		case a.ahead <- struct{}{}:
		default:
			return coming, from
		}
		result := make(chan early, 1)
		coming = append(coming, result)
		a.working.Go(func() {
			var sub early
			sub.at, sub.nodes, sub.err = a.enterListed(at, n)
			result <- sub
		})
	}
	return coming, from
}

// enterListed is enter, and reads what the listing says.
func (a *archiver) enterListed(up *trail, n *store.Node) (*trail, store.Directory, error) {
	at, nodes, err := a.enter(up, n)
	if err == nil {
		a.list(at, nodes)
	}
	return at, nodes, err
}

// add puts an event into the parcel that is being filled, or into one of its own. facts is what the listing says of it.
func (a *archiver) add(ev archiveEvent, facts *listing.Entry) error {
	switch ev.node.Kind {
	case store.KindFile:
		ev.kind = eventFile
	case store.KindSymlink:
		ev.kind = eventSymlink
	}
	a.describe(&ev, facts)
	long := ev.kind == eventFile && ev.node.Size > longFile
	if long {
		if err := a.send(); err != nil {
			return err
		}
	}
	p := a.filling
	p.events = append(p.events, ev)
	if ev.kind == eventFile {
		p.bytes += ev.node.Size
	}
	if p.long = long; long || p.bytes >= parcelBytes || len(p.events) == parcelEvents {
		return a.send()
	}
	return nil
}

// send gives the parcel that is being filled to those who fill and write it.
func (a *archiver) send() error {
	p := a.filling
	if len(p.events) == 0 {
		return nil
	}
	a.filling = new(parcel)
	p.done = make(chan struct{})
	for _, to := range []chan *parcel{a.ordered, a.work} {
		select {
		case to <- p:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
	}
	return nil
}

// attrs is what an archive says of an entry beside its name and contents.
type attrs struct {
	mode        uint32 // permission bits
	seconds     int64  // of the modification time, since 1970
	nanoseconds uint32
	uid, gid    uint32
	user, group string
	xattrs      []listing.Xattr
	listed      bool // they come from a listing
}

// describe gives an event its attributes: what the listing says, or else what all entries of its kind have. A file that the
// archive has by another name becomes a hard link to that.
func (a *archiver) describe(ev *archiveEvent, facts *listing.Entry) {
	n, to := &ev.node, &ev.attrs
	to.mode, to.seconds = 0o644, a.seconds
	switch {
	case n.Kind == store.KindSymlink:
		to.mode = 0o777
	case n.Kind == store.KindDirectory || n.Executable:
		to.mode = 0o755
	}
	if facts == nil {
		return
	}
	*to = attrs{mode: a.modeOf(n, facts, 0, true), seconds: facts.Seconds, nanoseconds: facts.Nanoseconds,
		uid: facts.UID, gid: facts.GID, user: facts.User, group: facts.Group, listed: true}
	if a.timed {
		to.seconds, to.nanoseconds = a.seconds, 0
	}
	if a.o.Xattrs {
		to.xattrs = a.recordable(ev, facts.Xattrs)
	}
	if ev.kind == eventFile && facts.Links > 1 && a.first != nil {
		key := linkKey{facts.Device, facts.Inode, n.Digest, n.Executable}
		if first, ok := a.first[key]; ok {
			ev.kind, n.Target = eventHardLink, first
		} else {
			a.first[key] = ev.path()
		}
	}
}

// recordable returns the attributes whose names a record of an archive can hold, and complains of others.
func (a *archiver) recordable(ev *archiveEvent, all []listing.Xattr) (good []listing.Xattr) {
	for _, x := range all {
		if strings.Contains(x.Name, "=") {
			a.complain(ev.at, ev.node.Name, fmt.Errorf("attribute %s: an archive cannot hold its name", store.Quote(x.Name)))
			continue
		}
		good = append(good, x)
	}
	return good
}
