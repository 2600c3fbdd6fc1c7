//go:build linux

package mount

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"castar/store"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// forever is how long the kernel may keep what never changes, the name of an entry and its attributes.
const forever = 24 * time.Hour

// Names of extended attributes. The last two are tvix's.
const (
	digestAttr          = "user.castar.digest"
	blobDigestAttr      = "user.tvix.castore.blob.digest"
	directoryDigestAttr = "user.tvix.castore.directory.digest"
)

// server answers the requests of the kernel: it implements fuse.RawFileSystem. Nothing below a root is remembered for
// the kernel, so files and directories need not be opened; each request has the number of its entry, and that is enough.
type server struct {
	fuse.RawFileSystem        // answers whatever would change something with ENOSYS
	fs                 *fsys  // finds and reads
	whole              *whole // nil: one root is mounted
	owner              fuse.Owner
	time               time.Time // of all entries; zero: that of the listing, or of the mount
	began              time.Time
	facts              *facts

	gate   sync.RWMutex // held by each request; closed is under it
	closed bool

	opened  sync.Map // handle → []catalogEntry: a folder that is open
	handles atomic.Uint64
	eager   eager
}

// enter begins a request. If ok is false, the mount is going away.
func (s *server) enter(cancel <-chan struct{}) (c *call, ok bool) {
	s.gate.RLock()
	if s.closed {
		s.gate.RUnlock()
		return nil, false
	}
	return &call{Context: s.fs.ctx, interrupted: cancel}, true
}

func (s *server) end(c *call) {
	c.finish()
	s.gate.RUnlock()
}

// begin begins a request about an entry. Unless the status is OK, the request has ended.
func (s *server) begin(cancel <-chan struct{}, number uint64) (c *call, p place, status fuse.Status) {
	c, ok := s.enter(cancel)
	if !ok {
		return nil, place{}, fuse.EIO
	}
	p, err := s.fs.find(c, number)
	if status = s.fs.status(number, err); status != fuse.OK {
		s.end(c)
	}
	return c, p, status
}

// String implements fuse.RawFileSystem.
func (s *server) String() string { return fsName }

// Lookup implements fuse.RawFileSystem. That a name does not exist is told the kernel as an entry without a number, so
// that it does not ask again.
func (s *server) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return status
	}
	defer s.end(c)
	switch {
	case p.folder():
		return s.lookupTop(c, p.top, name, out)
	case p.node.Kind != store.KindDirectory:
		return fuse.ENOTDIR
	}
	l, err := s.fs.list(c, p.node)
	if err != nil {
		return s.fs.status(in.NodeId, err)
	}
	i := l.find(name)
	if i < 0 {
		out.SetEntryTimeout(forever)
		return fuse.OK
	}
	child := p.entry(l, i)
	if child.node.Kind != store.KindDirectory {
		s.eager.lookedUp()
	}
	return s.entry(c, &child, out)
}

// lookupTop looks for a name in a folder of roots.
func (s *server) lookupTop(c *call, folder *top, name string, out *fuse.EntryOut) fuse.Status {
	found, ok, err := s.whole.find(c, folder.path, name)
	if err == nil && ok && found.node.Kind == store.KindDirectory && found.node.Size > maxSize {
		err = &store.CorruptError{Digest: found.node.Digest, Err: errSize}
	}
	if err != nil {
		return s.fs.status(folder.number, err)
	}
	if !ok {
		out.SetEntryTimeout(fresh)
		return fuse.OK
	}
	t := s.fs.tops.use(top{path: join(folder.path, name), folder: found.folder, node: found.node, listing: found.listing})
	p := t.place()
	if status := s.entry(c, &p, out); status != fuse.OK {
		s.Forget(t.number, 1)
		return status
	}
	if folder.path != "" {
		out.SetEntryTimeout(fresh)
	}
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (s *server) Forget(number, n uint64) {
	if s.fs.tops.forget(number, n) {
		s.fs.places.clear() // other trees may get the numbers
	}
}

// GetAttr implements fuse.RawFileSystem.
func (s *server) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return status
	}
	defer s.end(c)
	out.SetTimeout(forever)
	return s.attr(c, &p, &out.Attr)
}

// entry describes p to the kernel, as what a name leads to.
func (s *server) entry(c *call, p *place, out *fuse.EntryOut) fuse.Status {
	out.NodeId = p.number
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	return s.attr(c, p, &out.Attr)
}

// attr describes p.
func (s *server) attr(c *call, p *place, out *fuse.Attr) fuse.Status {
	*out = fuse.Attr{Ino: p.number, Nlink: 1, Mode: mode(p), Owner: s.owner, Blksize: 128 << 10}
	at := s.began
	facts, err := s.facts.of(c, p)
	if err != nil {
		return s.fs.status(p.number, err)
	}
	if facts != nil {
		out.Mode = out.Mode&syscall.S_IFMT | facts.Mode
		at = time.Unix(facts.Seconds, int64(facts.Nanoseconds))
	}
	if !s.time.IsZero() {
		at = s.time
	}
	out.SetTimes(&at, &at, &at)
	switch {
	case p.folder(), p.node.Kind == store.KindDirectory:
		out.Blksize = 4 << 10 // the C library and the kernel make buffers of that size or 32 KiB to read it
	case p.node.Kind == store.KindFile:
		out.Size = min(p.node.Size, math.MaxInt64)
	case p.node.Kind == store.KindSymlink:
		out.Size = uint64(len(p.node.Target))
	}
	out.Blocks = (out.Size + 511) / 512
	return fuse.OK
}

// mode returns the kind and permissions of p.
func mode(p *place) uint32 {
	switch {
	case p.folder() || p.node.Kind == store.KindDirectory:
		return fuse.S_IFDIR | 0o555
	case p.node.Kind == store.KindSymlink:
		return fuse.S_IFLNK | 0o777
	case p.node.Executable:
		return fuse.S_IFREG | 0o555
	}
	return fuse.S_IFREG | 0o444
}

// Readlink implements fuse.RawFileSystem.
func (s *server) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return nil, status
	}
	defer s.end(c)
	if p.node.Kind != store.KindSymlink {
		return nil, fuse.EINVAL
	}
	return []byte(p.node.Target), fuse.OK
}

// Open implements fuse.RawFileSystem. ENOSYS tells the kernel that files need not be opened, and that it may keep what
// it has read of them.
func (s *server) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

// Flush implements fuse.RawFileSystem.
func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Read implements fuse.RawFileSystem.
func (s *server) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return nil, status
	}
	defer s.end(c)
	if p.folder() || p.node.Kind != store.KindFile {
		return nil, fuse.EISDIR
	}
	data, err := s.fs.read(c, &p, in.Offset, buf)
	if err != nil {
		return nil, s.fs.status(in.NodeId, err)
	}
	return data, fuse.OK
}

// xattrs returns the extended attributes of p: names and values in turn.
func xattrs(p *place) []string {
	switch {
	case p.folder():
	case p.node.Kind == store.KindFile:
		return []string{digestAttr, p.node.Digest.String(), blobDigestAttr, tvixDigest(p.node.Digest)}
	case p.node.Kind == store.KindDirectory:
		return []string{digestAttr, p.node.Digest.String(), directoryDigestAttr, tvixDigest(p.node.Digest)}
	}
	return nil
}

// tvixDigest returns a digest as tvix prints it.
func tvixDigest(d store.Digest) string { return "b3:" + strings.TrimPrefix(d.Snix(), "blake3-") }

// GetXAttr implements fuse.RawFileSystem.
func (s *server) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, buf []byte) (uint32, fuse.Status) {
	if !strings.HasPrefix(name, "user.") { // told that there are no access control lists and labels, ls asks no more
		return 0, fuse.Status(syscall.EOPNOTSUPP)
	}
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return 0, status
	}
	defer s.end(c)
	all := xattrs(&p)
	for i := 0; i < len(all); i += 2 {
		if all[i] == name {
			return answer(all[i+1], buf)
		}
	}
	return 0, fuse.ENOATTR
}

// ListXAttr implements fuse.RawFileSystem.
func (s *server) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, buf []byte) (uint32, fuse.Status) {
	c, p, status := s.begin(cancel, in.NodeId)
	if status != fuse.OK {
		return 0, status
	}
	defer s.end(c)
	names := ""
	for i, all := 0, xattrs(&p); i < len(all); i += 2 {
		names += all[i] + "\x00"
	}
	return answer(names, buf)
}

// answer puts text in buf, or asks for a larger one.
func answer(text string, buf []byte) (uint32, fuse.Status) {
	if len(buf) < len(text) {
		return uint32(len(text)), fuse.ERANGE
	}
	return uint32(copy(buf, text)), fuse.OK
}

// StatFs implements fuse.RawFileSystem. Nothing can be added, so nothing is free.
func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const block = 4096
	*out = fuse.StatfsOut{Bsize: block, Frsize: block, NameLen: store.MaxNameLen}
	if t := s.fs.tops.at(mountpoint); !t.folder {
		out.Files = t.node.Size + 1
	}
	return fuse.OK
}

// close ends all requests that run, and refuses further ones.
func (s *server) close() {
	s.gate.Lock()
	s.closed = true
	s.gate.Unlock()
	s.fs.running.Wait()
	s.fs.files.clear()
}
