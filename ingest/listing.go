package ingest

import (
	"bufio"
	"cmp"
	"context"
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

// listingSpool collects the listing of a walk: what castore's model does not keep. Directories end in any order, so their
// blocks wait here, and are put in order at the end. A nil *listingSpool collects nothing.
type listingSpool struct {
	xattrs  bool
	device  uint64    // of the root
	names   sync.Map  // of owners, as strings
	buffers sync.Pool // of *[]byte
	unused  sync.Pool // of *blockLines

	mu       sync.Mutex
	inMemory []*spooledBlock // the part of the spool that is in memory
	size     int             // of that part, in bytes
	file     *os.File        // has the other part, or nil
	spilled  int64           // its length
}

// spooledBlock is the block of a directory, in the spool.
type spooledBlock struct {
	text   []byte // nil if it is in the file
	at     int64  // where it is there
	length int
	isDir  bool
	below  []*spooledBlock // of its directories, in order
}

// owner is a user or a group.
type owner struct {
	id    uint32
	group bool
}

// blockLines collects the block of one directory. A nil *blockLines collects nothing.
type blockLines struct {
	spool   *listingSpool
	dir     listing.Entry // of the directory itself
	block   listing.Block
	batches []*[]byte // the first has the directory itself, the others batchSize entries each; some are nil

	mu    sync.Mutex
	below []lower
}

// lower is the block of entry i of a directory.
type lower struct {
	i int
	*spooledBlock
}

// begin begins the block of the entry at.name of the directory fd.
func (s *listingSpool) begin(fd int, at *place, st *stat, node *store.Node) (*blockLines, error) {
	if s == nil {
		return nil, nil
	}
	name := at.name
	if at.parent == nil {
		s.device, name = st.dev, "."
	}
	l, ok := s.unused.Get().(*blockLines)
	if !ok {
		l = &blockLines{spool: s}
	}
	l.batches, l.below = append(l.batches[:0], nil), l.below[:0]
	if err := s.describe(&l.dir, &l.dir, fd, at.name, st, node); err != nil {
		return nil, err
	}
	l.block = listing.NewBlock(&l.dir)
	text := s.buffer()
	*text = l.block.AppendDirectory(*text, name, &l.dir)
	l.batches[0] = text
	return l, nil
}

func (s *listingSpool) buffer() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 2<<10)
	return &b
}

// expect makes room for so many entries.
func (l *blockLines) expect(entries int) {
	if l != nil {
		batches := (entries + batchSize - 1) / batchSize
		l.batches = slices.Grow(l.batches, batches)[:1+batches]
	}
}

// add adds entry i of the directory fd. Entries of one batch must be added in order, one at a time.
func (l *blockLines) add(i, fd int, at *place, st *stat, node *store.Node) error {
	if l == nil {
		return nil
	}
	if node.Kind == store.KindDirectory {
		l.mu.Lock()
		l.below = append(l.below, lower{i, at.block})
		l.mu.Unlock()
		return nil
	}
	batch := &l.batches[1+i/batchSize]
	if *batch == nil {
		*batch = l.spool.buffer()
	}
	text := *batch
	sameOwner := st.uid == l.dir.UID && st.gid == l.dir.GID
	if node.Kind == store.KindFile && sameOwner && st.links <= 1 && !st.sparse(node.Size) && !l.spool.xattrs {
		seconds, nanoseconds := st.modified()
		*text = l.block.AppendFile(*text, at.name, st.mode&0o7777, seconds, nanoseconds, node.Size)
		return nil
	}
	var e listing.Entry
	err := l.spool.describe(&e, &l.dir, fd, at.name, st, node)
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
func (l *blockLines) end(isDir bool) (*spooledBlock, error) {
	if l == nil {
		return nil, nil
	}
	slices.SortFunc(l.below, func(a, b lower) int { return cmp.Compare(a.i, b.i) })
	n := &spooledBlock{isDir: isDir}
	if len(l.below) > 0 {
		n.below = make([]*spooledBlock, len(l.below))
	}
	for i, below := range l.below {
		n.below[i] = below.spooledBlock
	}
	if err := l.spool.keep(n, l.batches); err != nil {
		return nil, err
	}
	clear(l.batches)
	clear(l.below)
	l.spool.unused.Put(l)
	return n, nil
}

// describe fills in what the listing says of the entry name of the directory fd. dir is the directory's own entry, whose
// owner is likely to be the same.
func (s *listingSpool) describe(e, dir *listing.Entry, fd int, name string, st *stat, node *store.Node) (err error) {
	user, group := dir.User, dir.Group
	if e == dir || st.uid != dir.UID {
		user = s.name(owner{st.uid, false})
	}
	if e == dir || st.gid != dir.GID {
		group = s.name(owner{st.gid, true})
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
			if st.dev != s.device {
				e.Device = st.dev
			}
		}
	case store.KindSymlink:
		e.Target = node.Target
	}
	if s.xattrs {
		e.Xattrs, err = readXattrs(fd, name)
	}
	return err
}

// name returns the name of an owner, or "".
func (s *listingSpool) name(o owner) string {
	if name, ok := s.names.Load(o); ok {
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
	s.names.Store(o, name)
	return name
}

func (s *listingSpool) keep(b *spooledBlock, batches []*[]byte) error {
	for _, text := range batches {
		if text != nil {
			b.length += len(*text)
		}
	}
	b.text = make([]byte, 0, b.length)
	for _, text := range batches {
		if text != nil {
			b.text = append(b.text, *text...)
			s.buffers.Put(text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inMemory = append(s.inMemory, b)
	if s.size += b.length; s.size < spoolMemory {
		return nil
	}
	return s.spill()
}

// spill moves the blocks in memory to a file.
func (s *listingSpool) spill() (err error) {
	if s.file == nil {
		if s.file, err = posix.Nameless(""); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(s.file, 1<<20)
	for _, b := range s.inMemory {
		w.Write(b.text) // Flush returns the first error
		b.at, b.text = s.spilled, nil
		s.spilled += int64(b.length)
	}
	s.inMemory, s.size = nil, 0
	return w.Flush()
}

func (s *listingSpool) close() {
	if s != nil && s.file != nil {
		s.file.Close()
	}
}

// put stores the listing that begins with the block b, as a blob.
func (s *listingSpool) put(ctx context.Context, blobs store.Blobs, b *spooledBlock) (d store.Digest, err error) {
	w, err := blobs.Create(ctx)
	if err != nil {
		return d, err
	}
	defer w.Close()
	pieces := bufio.NewWriterSize(w, 64<<10) // Flush returns the first error
	pieces.WriteString(listing.Header)
	if err := s.write(pieces, b); err != nil {
		return d, err
	}
	if err := pieces.Flush(); err != nil {
		return d, err
	}
	return w.Commit()
}

// write writes a block and those below it.
func (s *listingSpool) write(w *bufio.Writer, b *spooledBlock) error {
	text, err := s.text(b)
	if err != nil {
		return err
	}
	w.Write(text)
	for _, below := range b.below {
		if err := s.write(w, below); err != nil {
			return err
		}
	}
	if b.isDir {
		w.WriteString(listing.Up)
	}
	return nil
}

func (s *listingSpool) text(b *spooledBlock) ([]byte, error) {
	if b.text != nil {
		return b.text, nil
	}
	text := make([]byte, b.length)
	_, err := s.file.ReadAt(text, b.at)
	return text, err
}
