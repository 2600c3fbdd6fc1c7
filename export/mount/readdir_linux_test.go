package mount

import (
	"context"
	"encoding/binary"
	"testing"

	"castar/store"
	"castar/store/memory"

	"github.com/google/go-cmp/cmp"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// described returns which entries of the directory a server describes with their names.
func described(t *testing.T, s *server, offset uint64) map[string]bool {
	t.Helper()
	buf := make([]byte, 4096)
	in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: mountpoint}, Offset: offset}
	if status := s.ReadDirPlus(nil, in, fuse.NewDirEntryList(buf, offset)); status != fuse.OK {
		t.Fatal(status)
	}
	const entryOut, header = 128, 24 // sizes in the protocol
	all := map[string]bool{}
	for number := binary.LittleEndian; number.Uint64(buf[entryOut+8:]) != 0; {
		length := int(number.Uint32(buf[entryOut+16:]))
		all[string(buf[entryOut+header:][:length])] = number.Uint64(buf) != 0
		buf = buf[entryOut+header+(length+7)/8*8:]
	}
	return all
}

func TestReadDirPlusDescribes(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", files{"d": files{}, "f": "1", "l": link("f")})
	s := &server{fs: newFsys(t.Context(), st, top{node: root}, func(string, error) {})}
	check := func(when string, offset uint64, want map[string]bool) {
		t.Helper()
		if d := cmp.Diff(want, described(t, s, offset)); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	lookup := func(name string) {
		t.Helper()
		var out fuse.EntryOut
		if status := s.Lookup(nil, &fuse.InHeader{NodeId: mountpoint}, name, &out); status != fuse.OK {
			t.Fatal(status)
		}
	}
	dirs := map[string]bool{".": false, "..": false, "d": true, "f": false, "l": false}
	all := map[string]bool{".": false, "..": false, "d": true, "f": true, "l": true}
	check("at first", 0, dirs)
	lookup("d")
	lookup("absent")
	check("after lookups of directories", 0, dirs)
	check("read on", 3, map[string]bool{"f": true, "l": true})
	lookup("f")
	check("after a lookup of a file", 0, all)
	for range 1000 {
		described(t, s, 0)
	}
	check("a long time after that", 0, dirs)
}

// asked is the trees that a server was told to expect.
type asked []store.Digest

func (a *asked) Expect(_ context.Context, root store.Digest) { *a = append(*a, root) }

// TestListAhead lists directories, and looks at what is read before anyone asks for it.
func TestListAhead(t *testing.T) {
	st := memory.New()
	a := plant(t, st, "a", files{"x": files{"deep": "1"}, "y": files{"deep": "2"}})
	b := plant(t, st, "b", files{"z": files{}})
	d, err := st.Directories.Put(t.Context(), store.Directory{a, b})
	if err != nil {
		t.Fatal(err)
	}
	root := store.Node{Kind: store.KindDirectory, Digest: d, Size: a.Size + b.Size + 2}
	list := func(st *store.Store, numbers ...uint64) *server {
		s := &server{fs: newFsys(t.Context(), st, top{node: root}, func(string, error) {})}
		for _, n := range numbers {
			in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: n}}
			if status := s.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 4096), 0)); status != fuse.OK {
				t.Fatal(status)
			}
			s.fs.running.Wait()
		}
		return s
	}
	s := list(st, mountpoint)
	if s.fs.directories.knows(contents{a.Digest, a.Size}) {
		t.Error("a directory in a store that is near is read ahead")
	}
	st.Far = true
	s = list(st, mountpoint)
	if !s.fs.directories.knows(contents{a.Digest, a.Size}) || !s.fs.directories.knows(contents{b.Digest, b.Size}) {
		t.Error("the directories in a directory are not read ahead")
	}
	var got asked
	far := *st
	far.RemoteDirectories = &got
	list(&far, 1, 2, 3, 2, 1, 2)
	if len(got) != 4 || got[0] != a.Digest || got[3] != d {
		t.Errorf("a server is told to expect %v", got)
	}
}

// TestFilesAhead reads small files of a remote store in order.
func TestFilesAhead(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", files{"a": "1", "b": "2", "c": "3", "d": files{"x": "5"}, "e": "4"})
	st.RemoteBlobs = struct{ store.RemoteBlobs }{}
	s := &server{fs: newFsys(t.Context(), st, top{node: root}, func(string, error) {})}
	read := func(number uint64, want string) {
		t.Helper()
		in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: number}}
		result, status := s.Read(nil, in, make([]byte, 4096))
		if status != fuse.OK {
			t.Fatal(status)
		}
		if got, _ := result.Bytes(make([]byte, 10)); string(got) != want {
			t.Errorf("%d: %q, want %q", number, got, want)
		}
		s.fs.running.Wait()
	}
	known := func(text string) bool { return s.fs.pieces.knows(contents{store.Sum([]byte(text)), 1}) }
	described(t, s, 0)
	read(4, "3")
	read(2, "1")
	if known("2") || known("4") {
		t.Error("read ahead, though nothing was read in order")
	}
	read(3, "2")
	if !known("4") || known("5") {
		t.Error("what comes after files that were read in order is not read ahead, or too much is")
	}
}
