package export

import (
	"fmt"
	"strings"

	"castar/store"
	"castar/store/listing"
)

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

// describe gives an item its attributes: what the listing says, or else what all entries of its kind have. A file that the
// archive has by another name becomes a hard link to that.
func (a *archiver) describe(it *item, facts *listing.Entry) {
	n, to := &it.node, &it.attrs
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
		to.xattrs = a.recordable(it, facts.Xattrs)
	}
	if it.step == stepFile && facts.Links > 1 && a.first != nil {
		key := linkKey{facts.Device, facts.Inode, n.Digest, n.Executable}
		if first, ok := a.first[key]; ok {
			it.step, n.Target = stepHardLink, first
		} else {
			a.first[key] = it.path()
		}
	}
}

// recordable returns the attributes whose names a record of an archive can hold, and complains of others.
func (a *archiver) recordable(it *item, all []listing.Xattr) (good []listing.Xattr) {
	for _, x := range all {
		if strings.Contains(x.Name, "=") {
			a.complain(it.at, it.node.Name, fmt.Errorf("attribute %s: an archive cannot hold its name", store.Quote(x.Name)))
			continue
		}
		good = append(good, x)
	}
	return good
}
