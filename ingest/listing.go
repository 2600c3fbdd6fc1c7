package ingest

import (
	"context"
	"os"
	"os/user"
	"strconv"
	"sync"

	"castar/store"
	"castar/store/listing"
)

const (
	// spoolMemory is how much of a listing is held in memory until the walk ends. The rest waits in a file. A Linux tree
	// has a listing of 4 MB.
	spoolMemory = 64 << 20
	// holeSize is how many bytes must be missing on the disk before a file counts as one with holes.
	holeSize = 4096
)

// notes collects the listing of a walk: what castore's model does not keep. Directories end in any order, so their blocks
// wait in a spool, and are put in order in the end. A nil *notes collects nothing.
type notes struct {
	xattrs bool
	device uint64   // of the root
	names  sync.Map // of owners, as strings

	mu      sync.Mutex
	spool   []byte
	file    *os.File // what did not fit into the spool, or nil
	spilled int64    // the length of file
}

// note is where the block of a directory waits.
type note struct {
	at, length int64
	isDir      bool
	below      []*note // of its directories, in order
}

// owner is a user or a group.
type owner struct {
	id    uint32
	group bool
}

// lines collects the block of one directory. A nil *lines collects nothing.
type lines struct {
	notes   *notes
	block   listing.Block
	self    []byte
	batches [][]byte // of batchSize entries each
	below   []*note  // of each entry that is a directory
}

// begin begins the block of the entry at.name of the directory fd.
func (n *notes) begin(fd int, at *place, st *stat, node *store.Node) (*lines, error) {
	if n == nil {
		return nil, nil
	}
	if at.parent == nil {
		n.device = st.dev
	}
	e, err := n.describe(fd, at.name, st, node)
	if err != nil {
		return nil, err
	}
	name := at.name
	if at.parent == nil {
		name = "."
	}
	l := &lines{notes: n, block: listing.NewBlock(&e)}
	l.self = l.block.AppendDirectory(nil, name, &e)
	return l, nil
}

// expect makes room for so many entries.
func (l *lines) expect(entries int) {
	if l != nil {
		l.below = make([]*note, entries)
		l.batches = make([][]byte, (entries+batchSize-1)/batchSize)
	}
}

// add adds entry i of the directory fd. Entries of one batch must be added in order, one at a time.
func (l *lines) add(i, fd int, at *place, st *stat, node *store.Node) error {
	if l == nil {
		return nil
	}
	if node.Kind == store.KindDirectory {
		l.below[i] = at.note
		return nil
	}
	e, err := l.notes.describe(fd, at.name, st, node)
	if err == nil {
		batch := &l.batches[i/batchSize]
		*batch = l.block.Append(*batch, at.name, &e)
	}
	return err
}

// end keeps the block in the spool.
func (l *lines) end(isDir bool) (*note, error) {
	if l == nil {
		return nil, nil
	}
	n := &note{isDir: isDir}
	for _, below := range l.below {
		if below != nil {
			n.below = append(n.below, below)
		}
	}
	return n, l.notes.keep(n, l.self, l.batches)
}

// describe returns what the listing says of the entry name of the directory fd.
func (n *notes) describe(fd int, name string, st *stat, node *store.Node) (e listing.Entry, err error) {
	e = listing.Entry{Kind: node.Kind, Mode: st.mode & 0o7777, UID: st.uid, GID: st.gid,
		User: n.name(owner{st.uid, false}), Group: n.name(owner{st.gid, true})}
	e.Seconds, e.Nanoseconds = st.mtime/1e9, uint32(((st.mtime%1e9)+1e9)%1e9)
	if st.mtime%1e9 < 0 {
		e.Seconds--
	}
	switch node.Kind {
	case store.KindFile:
		e.Size = node.Size
		if st.allocated+holeSize <= node.Size {
			e.Sparse, e.Allocated = true, st.allocated
		}
		if st.links > 1 {
			e.Links, e.Inode = st.links, st.ino
			if st.dev != n.device {
				e.Device = st.dev
			}
		}
	case store.KindSymlink:
		e.Target = node.Target
	}
	if n.xattrs {
		e.Xattrs, err = readXattrs(fd, name)
	}
	return e, err
}

// name returns the name of an owner, or "".
func (n *notes) name(o owner) string {
	if name, ok := n.names.Load(o); ok {
		return name.(string)
	}
	name, id := "", strconv.FormatUint(uint64(o.id), 10)
	if o.group {
		if g, err := user.LookupGroupId(id); err == nil {
			name = g.Name
		}
	} else if u, err := user.LookupId(id); err == nil {
		name = u.Username
	}
	n.names.Store(o, name)
	return name
}

// keep adds a block to the spool.
func (n *notes) keep(at *note, self []byte, batches [][]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	at.at = n.spilled + int64(len(n.spool))
	n.spool = append(n.spool, self...)
	for _, text := range batches {
		n.spool = append(n.spool, text...)
	}
	at.length = n.spilled + int64(len(n.spool)) - at.at
	if len(n.spool) < spoolMemory {
		return nil
	}
	return n.spill()
}

// spill moves the spool to a file that has no name any more.
func (n *notes) spill() error {
	if n.file == nil {
		f, err := os.CreateTemp("", "castar-listing-*")
		if err != nil {
			return err
		}
		n.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	if _, err := n.file.WriteAt(n.spool, n.spilled); err != nil {
		return err
	}
	n.spilled += int64(len(n.spool))
	n.spool = n.spool[:0]
	return nil
}

func (n *notes) close() {
	if n != nil && n.file != nil {
		n.file.Close()
	}
}

// put stores the listing whose root is at, as a blob.
func (n *notes) put(ctx context.Context, blobs store.Blobs, at *note) (d store.Digest, err error) {
	w, err := blobs.Create(ctx)
	if err != nil {
		return d, err
	}
	defer w.Close()
	if _, err := w.Write(listing.AppendHeader(nil)); err != nil {
		return d, err
	}
	if err := n.write(w, at, listing.AppendUp(nil)); err != nil {
		return d, err
	}
	return w.Commit()
}

// write writes the block of at and all below it.
func (n *notes) write(w store.BlobWriter, at *note, up []byte) error {
	text, err := n.text(at)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for _, below := range at.below {
		if err := n.write(w, below, up); err != nil {
			return err
		}
	}
	if at.isDir {
		_, err = w.Write(up)
	}
	return err
}

// text returns a block.
func (n *notes) text(at *note) ([]byte, error) {
	if at.at >= n.spilled {
		return n.spool[at.at-n.spilled:][:at.length], nil
	}
	text := make([]byte, at.length)
	_, err := n.file.ReadAt(text, at.at)
	return text, err
}
