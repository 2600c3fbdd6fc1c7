package ingest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// tarError returns the error of ingesting an archive, of which there must be no root.
func tarError(t *testing.T, archive []byte) error {
	t.Helper()
	r, err := Tar(context.Background(), memory.New(), bytes.NewReader(archive), Options{IgnoreErrors: true})
	if err != nil && r.Root != (store.Node{}) {
		t.Errorf("there is a root, %v, beside the error %v", r.Root, err)
	}
	return err
}

// TestTarCut cuts an archive in many places. Only one whose end marker is half there is complete.
func TestTarCut(t *testing.T) {
	whole := tarOf(t, f("a", "contents"), d("d"), f("d/zeros", strings.Repeat("\x00", 1024)), s(strings.Repeat("x", 200), "x"))
	end := len(whole) - 2*tarBlock
	for n := range whole {
		if n%tarBlock != 0 && n%97 != 0 {
			continue
		}
		err := tarError(t, whole[:n])
		if want := n == end+tarBlock; (err == nil) != want {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(whole), err)
		}
	}
	for _, after := range []int{tarBlock, 8 * tarBlock, 100_001} {
		if err := tarError(t, append(bytes.Clone(whole), make([]byte, after)...)); err != nil {
			t.Errorf("%d zeros after it: %v", after, err)
		}
	}
	for _, after := range [][]byte{{1}, whole, append(make([]byte, 70_000), 'x')} {
		if err := tarError(t, append(bytes.Clone(whole), after...)); err == nil || !strings.Contains(err.Error(), "after the end of the archive") {
			t.Errorf("%d bytes after it: error %v", len(after), err)
		}
	}
}

// header returns a header block, with a right checksum, that change has changed.
func header(t *testing.T, e entry, change func(block []byte)) []byte {
	block := tarOf(t, e)[:tarBlock]
	change(block)
	retype(block, block[156])
	return block
}

func TestTarHostile(t *testing.T) {
	size := func(text string) func([]byte) {
		return func(b []byte) { copy(b[124:136], text+strings.Repeat("\x00", 12)) }
	}
	pax := func(records ...string) []byte {
		data := ""
		for _, r := range records {
			n := len(r) + 3
			for len(fmt.Sprintf("%d %s\n", n, r)) != n {
				n++
			}
			data += fmt.Sprintf("%d %s\n", n, r)
		}
		b := header(t, f("pax", ""), func(b []byte) { b[156] = 'x'; size(fmt.Sprintf("%011o", len(data)))(b) })
		return append(b, (data + strings.Repeat("\x00", -len(data)&(tarBlock-1)))...)
	}
	file, end := tarOf(t, f("a", "1"))[:2*tarBlock], make([]byte, 2*tarBlock)
	tests := []struct {
		name, reason string
		parts        [][]byte
	}{
		{"a size that is a lie", "cut short after a", [][]byte{header(t, f("a", ""), size("00000002000")), end}},
		{"a size of 8 GiB", "cut short after a", [][]byte{header(t, f("a", ""), size("77777777777")), end}},
		{"a size of exabytes", "more than a file can have", [][]byte{header(t, f("a", ""), size("\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")), end}},
		{"a negative size", "not a tar archive", [][]byte{header(t, f("a", ""), size("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), end}},
		{"a size in a PAX record", "cut short after a", [][]byte{pax("size=1000000"), file, end}},
		{"a negative size in a PAX record", "not a tar archive", [][]byte{pax("size=-1"), file, end}},
		{"a name with a NUL in a PAX record", "invalid tar header after a", [][]byte{file, pax("path=a\x00b"), file, end}},
		{"a PAX record that is cut", "invalid tar header after a", [][]byte{file, header(t, f("p", ""), func(b []byte) { b[156] = 'x'; size("00000000004")(b) }), append([]byte("99 x"), make([]byte, 508)...), file, end}},
		{"a checksum that is wrong", "invalid tar header after a", [][]byte{file, append([]byte("x"), file[1:]...), end}},
		{"a global name", "a global header sets path", [][]byte{tarOf(t, entry{name: "g", kind: tar.TypeXGlobalHeader, pax: map[string]string{"path": "x"}})[:2*tarBlock], file, end}},
		{"a sparse map beyond the end", "not a tar archive", [][]byte{pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.numblocks=1", "GNU.sparse.map=5,10", "GNU.sparse.size=3"), file, end}},
		{"a sparse map that overlaps", "not a tar archive", [][]byte{pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.numblocks=2", "GNU.sparse.map=0,2,1,2", "GNU.sparse.size=9"), file, end}},
		{"a sparse map with more data than there is", "after a: sparse file references non-existent data", [][]byte{pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,9", "GNU.sparse.size=9"), file, end}},
		{"a sparse map with less data than there is", "after a: sparse file contains unreferenced data", [][]byte{pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.numblocks=1", "GNU.sparse.map=5,0", "GNU.sparse.size=5"), file, end}},
		{"nothing but headers for headers", "cut short", [][]byte{pax("path=x"), end}},
	}
	for _, tt := range tests {
		if err := tarError(t, bytes.Join(tt.parts, nil)); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.reason)
		}
	}
	huge := bytes.Join([][]byte{pax("GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,1", fmt.Sprint("GNU.sparse.size=", int64(1)<<60)), file, end}, nil)
	unknown := bytes.Join([][]byte{pax("GNU.sparse.major=2", "GNU.sparse.minor=0"), file, end}, nil)
	for reason, archive := range map[string][]byte{"more than a file can have": huge, "in a form that is not known": unknown} {
		if _, err := Tar(context.Background(), nil, bytes.NewReader(archive), Options{}); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("error %v, want %s", err, reason)
		}
	}
}

// TestTarManyProblems asserts that a list of problems has an end.
func TestTarManyProblems(t *testing.T) {
	bad := tarOf(t, f("../a", ""))[:tarBlock]
	err := tarError(t, append(bytes.Repeat(bad, maxProblems+1), make([]byte, 1024)...))
	if err == nil || !strings.Contains(err.Error(), "more than 10000 members cannot be stored, among them ../a: leads out") {
		t.Errorf("error %v", err)
	}
}

// TestGrower adds entries in random order with little memory, and asserts that the tree does not depend on that.
func TestGrower(t *testing.T) {
	type leaf struct{ path, data string }
	var leaves []leaf
	for i := range 3000 {
		leaves = append(leaves, leaf{fmt.Sprintf("%d/%d/%d/f%d", i%3, i%17, i%31, i), fmt.Sprint(i)})
	}
	r := rand.New(rand.NewPCG(1, 2))
	grow := func(most int) (store.Node, bool) {
		r.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
		l := newLoader(context.Background(), memory.New(), Options{})
		defer l.close()
		l.tree.most, l.tree.limit = most, most
		for i, e := range leaves {
			m := member{apply: applyEntry, name: e.path, path: e.path}
			rerr, err := l.file(m, uint64(len(e.data)), strings.NewReader(e.data))
			try(t, errors.Join(rerr, err))
			if i%100 == 0 { // replaced by the same
				try(t, l.add(member{apply: applyLink, path: e.path, link: e.path}))
			}
		}
		result, err := l.finish()
		try(t, err)
		if result.Counts.Files != uint64(len(leaves)) || result.Counts.Directories != 1+3+3*17+3*17*31 {
			t.Errorf("counts %+v", result.Counts)
		}
		return result.Root, l.tree.spill != nil
	}
	want, spilled := grow(math.MaxInt)
	if spilled {
		t.Error("a temporary file without need")
	}
	for _, most := range []int{0, 10_000, 200_000} {
		got, spilled := grow(most)
		if got != want || !spilled {
			t.Errorf("with %d bytes: root %v, want %v; a temporary file: %v", most, got, want, spilled)
		}
	}
}

func FuzzTar(f *testing.F) {
	f.Add(tarOf(f, d("d/"), entry{name: "d/a", data: "contents"}, s("s", "d"), hl("h", "d/a"), pipe("p")))
	f.Add(tarOf(f, entry{name: strings.Repeat("x", 300), data: "1", pax: map[string]string{"comment": "x"}}))
	f.Add(tarOf(f, s("a", "/etc"), entry{name: "a/passwd"}, entry{name: "../x"}, entry{name: "/x"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		st := memory.New()
		r, err := Tar(context.Background(), st, bytes.NewReader(archive), Options{IgnoreErrors: true})
		if err != nil {
			return
		}
		for _, err := range st.Directories.Walk(context.Background(), r.Root.Digest) {
			if err != nil {
				t.Fatalf("the tree is not whole: %v", err)
			}
		}
	})
}
