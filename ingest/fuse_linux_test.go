package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// numbering says which inode numbers a fuseServer gives to files, and which it lists.
type numbering struct {
	everyLookup bool   // anew at each lookup of a name, and not only at the first
	everyStat   bool   // and whenever a file is described
	everyOpen   bool   // all files, whenever one was opened
	listed      uint64 // the number of each entry in listings
}

// fuseServer serves a tree of files over /dev/fuse. It knows only the part of the protocol that reading needs. The
// structures are those of linux/fuse.h. All files have the same time, and the kernel may not cache any answer.
type fuseServer struct {
	numbering
	fd int

	mu    sync.Mutex
	nodes map[uint64]*fuseNode
	count uint64 // of numbers given out
	reads int    // files that were opened
	when  uint64 // the time of all files
}

type fuseNode struct {
	id   uint64
	data string
	kids map[string]*fuseNode // of a directory
}

// mountFUSE serves v, a tree of files and directories, at dir until unmount is called or the test ends.
func mountFUSE(t *testing.T, dir string, v tree, n numbering) (s *fuseServer, unmount func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("NOT TESTED: FUSE: /dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", fd, os.Getuid(), os.Getgid())
	if err := unix.Mount("castar-test", dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		unix.Close(fd)
		t.Skipf("NOT TESTED: FUSE, which needs root: mount: %v", err)
	}
	s = &fuseServer{numbering: n, fd: fd, count: 1, when: 1_600_000_000}
	root := newFUSENode(v)
	root.id = 1
	s.nodes = map[uint64]*fuseNode{1: root}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
		unix.Close(fd)
	}()
	unmount = sync.OnceFunc(func() {
		try(t, unix.Unmount(dir, unix.MNT_DETACH))
		<-done
	})
	t.Cleanup(unmount)
	return s, unmount
}

func newFUSENode(v any) *fuseNode {
	dir, ok := v.(tree)
	if !ok {
		return &fuseNode{data: v.(string)}
	}
	n := &fuseNode{kids: map[string]*fuseNode{}}
	for name, kid := range dir {
		n.kids[name] = newFUSENode(kid)
	}
	return n
}

// serve answers requests until the file system is unmounted.
func (s *fuseServer) serve() {
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(s.fd, buf)
		if err == unix.ENODEV {
			return
		}
		if err != nil {
			continue
		}
		order := binary.NativeEndian
		op, unique, node := order.Uint32(buf[4:]), order.Uint64(buf[8:]), order.Uint64(buf[16:])
		answer, errno, silent := s.answer(op, node, buf[40:n])
		if silent {
			continue
		}
		head := packed(uint32(16+len(answer)), -int32(errno), unique)
		_, _ = unix.Write(s.fd, append(head, answer...)) // an error is one of who asked and is gone
	}
}

func packed(values ...any) (b []byte) {
	for _, v := range values {
		b, _ = binary.Append(b, binary.NativeEndian, v)
	}
	return b
}

func (s *fuseServer) answer(op uint32, id uint64, body []byte) (answer []byte, errno unix.Errno, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.nodes[id]
	switch op {
	case 26: // INIT
		return packed(uint32(7), uint32(31), uint32(65536), uint32(0), uint32(16<<16|12), uint32(65536), uint32(1), [32]byte{}), 0, false
	case 1: // LOOKUP
		kid := node.kids[string(bytes.TrimRight(body, "\x00"))]
		if kid == nil {
			return nil, unix.ENOENT, false
		}
		of := *kid
		if s.everyLookup || kid.id == 0 {
			s.count++
			kid.id, of.id = s.count, s.count
			s.nodes[kid.id] = kid
		}
		return append(packed(of.id, [4]uint64{}), s.attr(kid, of.id)...), 0, false
	case 3: // GETATTR
		return append(make([]byte, 16), s.attr(node, id)...), 0, false
	case 14, 27: // OPEN, OPENDIR
		if node.kids == nil {
			s.reads++
		}
		return packed(uint64(1), uint64(0)), 0, false
	case 15: // READ
		from := min(int(binary.NativeEndian.Uint64(body[8:])), len(node.data))
		return []byte(node.data[from:min(from+int(binary.NativeEndian.Uint32(body[16:])), len(node.data))]), 0, false
	case 28: // READDIR
		return s.list(node, int(binary.NativeEndian.Uint64(body[8:])), int(binary.NativeEndian.Uint32(body[16:]))), 0, false
	case 17: // STATFS
		return make([]byte, 80), 0, false
	case 18, 25, 29: // RELEASE, FLUSH, RELEASEDIR
		return nil, 0, false
	case 2, 36, 42: // FORGET, INTERRUPT, BATCH_FORGET
		return nil, 0, true
	}
	return nil, unix.ENOSYS, false
}

func (s *fuseServer) attr(n *fuseNode, id uint64) []byte {
	mode := uint32(unix.S_IFREG | 0o644)
	if n.kids != nil {
		mode = unix.S_IFDIR | 0o755
	}
	if s.everyStat {
		s.count++
		id = s.count
	}
	if s.everyOpen {
		id |= uint64(s.reads) << 32
	}
	return packed(id, uint64(len(n.data)), uint64(8), s.when, s.when, s.when, [3]uint32{}, mode,
		uint32(1), uint32(os.Getuid()), uint32(os.Getgid()), uint32(0), uint32(4096), uint32(0))
}

func (s *fuseServer) list(n *fuseNode, from, size int) (b []byte) {
	names := append([]string{".", ".."}, slices.Sorted(maps.Keys(n.kids))...)
	for i := from; i < len(names); i++ {
		number, kind := uint64(1), uint32(unix.DT_DIR)
		if i > 1 {
			number, kind = s.listed, unix.DT_UNKNOWN
		}
		e := append(packed(number, uint64(i+1), uint32(len(names[i])), kind), names[i]...)
		e = append(e, make([]byte, -len(e)&7)...)
		if len(b)+len(e) > size {
			break
		}
		b = append(b, e...)
	}
	return b
}

// change gives the file of that name in the root other contents, and all files another time.
func (s *fuseServer) change(name, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[1].kids[name].data = data
	s.when++
}

// opened returns how many files were opened.
func (s *fuseServer) opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}
