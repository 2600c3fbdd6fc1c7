package ingest

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"
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
	xattrs  bool
	device  uint64    // of the root
	names   sync.Map  // of owners, as strings
	buffers sync.Pool // of *[]byte
	unused  sync.Pool // of *lines

	mu       sync.Mutex
	inMemory []*note  // the part of the spool that is in memory
	size     int      // of that part, in bytes
	file     *os.File // has the other part, or nil
	spilled  int64    // its length
}

// note is the block of a directory, in the spool.
type note struct {
	text   []byte // nil if it is in the file
	at     int64  // where it is there
	length int
	isDir  bool
	below  []*note // of its directories, in order
}

// owner is a user or a group.
type owner struct {
	id    uint32
	group bool
}

// lines collects the block of one directory. A nil *lines collects nothing.
type lines struct {
	notes   *notes
	dir     listing.Entry // of the directory itself
	block   listing.Block
	batches []*[]byte // the first has the directory itself, the others batchSize entries each; some are nil

	mu    sync.Mutex
	below []lower
}

// lower is the block of entry i of a directory.
type lower struct {
	i int
	*note
}

// begin begins the block of the entry at.name of the directory fd.
func (n *notes) begin(fd int, at *place, st *stat, node *store.Node) (*lines, error) {
	if n == nil {
		return nil, nil
	}
	name := at.name
	if at.parent == nil {
		n.device, name = st.dev, "."
	}
	l, ok := n.unused.Get().(*lines)
	if !ok {
		l = &lines{notes: n}
	}
	l.batches, l.below = append(l.batches[:0], nil), l.below[:0]
	if err := n.describe(&l.dir, &l.dir, fd, at.name, st, node); err != nil {
		return nil, err
	}
	l.block = listing.NewBlock(&l.dir)
	text := n.buffer()
	*text = l.block.AppendDirectory(*text, name, &l.dir)
	l.batches[0] = text
	return l, nil
}

func (n *notes) buffer() *[]byte {
	if b, ok := n.buffers.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 2<<10)
	return &b
}

// expect makes room for so many entries.
func (l *lines) expect(entries int) {
	if l != nil {
		batches := (entries + batchSize - 1) / batchSize
		l.batches = slices.Grow(l.batches, batches)[:1+batches]
	}
}

// add adds entry i of the directory fd. Entries of one batch must be added in order, one at a time.
func (l *lines) add(i, fd int, at *place, st *stat, node *store.Node) error {
	if l == nil {
		return nil
	}
	if node.Kind == store.KindDirectory {
		l.mu.Lock()
		l.below = append(l.below, lower{i, at.note})
		l.mu.Unlock()
		return nil
	}
	batch := &l.batches[1+i/batchSize]
	if *batch == nil {
		*batch = l.notes.buffer()
	}
	text := *batch
	if n := l.notes; node.Kind == store.KindFile && st.uid == l.dir.UID && st.gid == l.dir.GID && st.links <= 1 && !st.sparse(node.Size) && !n.xattrs {
		seconds, nanoseconds := st.modified()
		*text = l.block.AppendFile(*text, at.name, st.mode&0o7777, seconds, nanoseconds, node.Size)
		return nil
	}
	var e listing.Entry
	err := l.notes.describe(&e, &l.dir, fd, at.name, st, node)
	if err == nil {
		*text = l.block.Append(*text, at.name, &e)
	}
	return err
}

// modified returns when the contents changed, in seconds since 1970 and nanoseconds.
func (s *stat) modified() (seconds int64, nanoseconds uint32) {
	seconds, rest := s.mtime/1e9, s.mtime%1e9
	if rest < 0 {
		seconds, rest = seconds-1, rest+1e9
	}
	return seconds, uint32(rest)
}

// sparse reports whether a file of that size has holes.
func (s *stat) sparse(size uint64) bool { return s.allocated+holeSize <= size }

// end keeps the block in the spool. l is not used after that.
func (l *lines) end(isDir bool) (*note, error) {
	if l == nil {
		return nil, nil
	}
	slices.SortFunc(l.below, func(a, b lower) int { return cmp.Compare(a.i, b.i) })
	n := &note{isDir: isDir}
	if len(l.below) > 0 {
		n.below = make([]*note, len(l.below))
	}
	for i, below := range l.below {
		n.below[i] = below.note
	}
	if err := l.notes.keep(n, l.batches); err != nil {
		return nil, err
	}
	clear(l.batches)
	clear(l.below)
	l.notes.unused.Put(l)
	return n, nil
}

// describe fills in what the listing says of the entry name of the directory fd. dir is the directory's own entry, whose
// owner is likely to be the same.
func (n *notes) describe(e, dir *listing.Entry, fd int, name string, st *stat, node *store.Node) (err error) {
	user, group := dir.User, dir.Group
	if e == dir || st.uid != dir.UID {
		user = n.name(owner{st.uid, false})
	}
	if e == dir || st.gid != dir.GID {
		group = n.name(owner{st.gid, true})
	}
	*e = listing.Entry{Kind: node.Kind, Mode: st.mode & 0o7777, UID: st.uid, GID: st.gid, User: user, Group: group}
	e.Seconds, e.Nanoseconds = st.modified()
	switch node.Kind {
	case store.KindFile:
		e.Size = node.Size
		if st.sparse(node.Size) {
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
	return err
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

func (n *notes) keep(at *note, batches []*[]byte) error {
	for _, b := range batches {
		if b != nil {
			at.length += len(*b)
		}
	}
	at.text = make([]byte, 0, at.length)
	for _, b := range batches {
		if b != nil {
			at.text = append(at.text, *b...)
			n.buffers.Put(b)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inMemory = append(n.inMemory, at)
	if n.size += at.length; n.size < spoolMemory {
		return nil
	}
	return n.spill()
}

// spill moves the spool to a file that has no name any more.
func (n *notes) spill() error {
	if n.file == nil {
		f, err := posix.Nameless("")
		if err != nil {
			return err
		}
		n.file = f
	}
	w := bufio.NewWriterSize(n.file, 1<<20)
	for _, note := range n.inMemory {
		if _, err := w.Write(note.text); err != nil {
			return err
		}
		note.at, note.text = n.spilled, nil
		n.spilled += int64(note.length)
	}
	n.inMemory, n.size = nil, 0
	return w.Flush()
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
	pieces := bufio.NewWriterSize(w, 64<<10)
	if _, err = pieces.Write(listing.AppendHeader(nil)); err == nil {
		err = n.write(pieces, at, listing.AppendUp(nil))
	}
	if err == nil {
		err = pieces.Flush()
	}
	if err != nil {
		return d, err
	}
	return w.Commit()
}

func (n *notes) write(w io.Writer, at *note, up []byte) error {
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

func (n *notes) text(at *note) ([]byte, error) {
	if at.text != nil {
		return at.text, nil
	}
	text := make([]byte, at.length)
	_, err := n.file.ReadAt(text, at.at)
	return text, err
}
