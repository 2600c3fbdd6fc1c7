package pack

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
)

// folders returns an empty store that has the folders of packs.
func folders(t *testing.T) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	for _, dir := range []string{Dir, TempDir} {
		if err := fsys.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

// write publishes a pack of groups of n blobs each, and returns their frames.
func write(t *testing.T, files *Files, groups, n int) (frames []Frame) {
	t.Helper()
	w := files.NewWriter(func(int64) int64 { return 1 << 20 })
	for i := range groups {
		g := files.NewGroup(KindData)
		for j := range n {
			data := blob(i, j)
			if offset, _ := files.Add(g, store.Sum(data), data); int(offset) != len(g.Raw)-len(data) {
				t.Errorf("blob %d has offset %d", j, offset)
			}
		}
		f, err := w.Append(g)
		if err != nil {
			t.Fatal(err)
		}
		files.Drop(g)
		frames = append(frames, f)
	}
	if err := w.Publish(); err != nil {
		t.Fatal(err)
	}
	if lengths := w.Lengths(); len(lengths) != 1 || lengths[0].Bytes != frames[groups-1].End() {
		t.Errorf("packs %v, want one of %d bytes", lengths, frames[groups-1].End())
	}
	return frames
}

func blob(i, j int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "blob %d of group %d. ", j, i), 10+j)
}

// change writes a pack with one byte changed.
func change(t *testing.T, fsys *crashfs.FS, id ID, at int64) {
	t.Helper()
	b := bytes.Clone(fsys.Files()[id.Path()])
	b[at] ^= 1
	if err := fsys.Remove(id.Path()); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create(id.Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// scan returns what a scan yields, and how many damaged places it meets.
func scan(t *testing.T, files *Files, id ID) (frames []Frame, places int) {
	t.Helper()
	_, err := files.Scan(t.Context(), id, func(Frame, error) { places++ }, func(f Frame) bool {
		frames = append(frames, f)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames, places
}

// TestWriteAndRead reads what a Writer wrote, in every way, and copies it to another pack.
func TestWriteAndRead(t *testing.T) {
	files := newFiles(t, folders(t))
	frames := write(t, files, 3, 20)
	var loaded Loaded
	w := files.NewWriter(func(int64) int64 { return 1 })
	for i, f := range frames {
		if err := files.Load(f, &loaded); err != nil || !loaded.Sound || !loaded.Padded {
			t.Fatalf("frame %d: sound %t, padded %t, %v", i, loaded.Sound, loaded.Padded, err)
		}
		to, err := w.Copy(&loaded)
		if err != nil {
			t.Fatal(err)
		}
		for j, l := range loaded.Head.Locations(f) {
			want := blob(i, j)
			if !bytes.Equal(loaded.Bytes(l), want) {
				t.Errorf("frame %d, item %d: loaded %q", i, j, loaded.Bytes(l))
			}
			for _, at := range []Location{l, {Frame: to, Offset: l.Offset, Size: l.Size}} {
				err := files.Use(at, func(data []byte) error { return CheckDecoded(KindData, store.Sum(want), data) })
				if err != nil {
					t.Errorf("%v: %v", at, err)
				}
			}
			d := store.Sum(want)
			if err := files.Listed(l, &d); err != nil {
				t.Error(err)
			}
			l.Offset++
			if err := files.Listed(l, &d); !errors.Is(err, ErrLacks) || !store.IsCorrupt(err) {
				t.Errorf("an object that is not there: %v", err)
			}
		}
	}
	if n := len(w.Lengths()); n != len(frames) {
		t.Errorf("%d packs of a byte each, want one for each of %d frames", n, len(frames))
	}
	w.Remove()
	if got, places := scan(t, files, frames[0].Pack); len(got) != 3 || places != 0 || got[0] != frames[0] || got[2] != frames[2] {
		t.Errorf("a scan found %v, and %d damaged places", got, places)
	}
	if ids, err := files.IDs(); err != nil || len(ids) != 1 {
		t.Errorf("packs %v, %v", ids, err)
	}
}

// TestDamage changes a byte of the middle one of three frames.
func TestDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		at      func(f Frame) int64
		found   int   // frames that a scan finds
		want    error // of Load, or any if nil
		reading bool  // objects must still be read by their places
	}{
		"item":           {func(f Frame) int64 { return f.Offset + FrameHeadLen }, 2, nil, true},
		"head":           {func(f Frame) int64 { return f.Offset + 20 }, 2, nil, true},
		"magic":          {func(f Frame) int64 { return f.Offset }, 2, nil, true},
		"end of payload": {func(f Frame) int64 { return f.End() - 1 }, 3, ErrPayload, false},
	} {
		fsys := folders(t)
		f := write(t, newFiles(t, fsys), 3, 5)[1]
		change(t, fsys, f.Pack, tt.at(f))
		files := newFiles(t, fsys)
		frames, places := scan(t, files, f.Pack)
		if len(frames) != tt.found || places != 3-tt.found {
			t.Errorf("%s: a scan found %d frames and %d damaged places", name, len(frames), places)
		}
		var loaded Loaded
		err := files.Load(f, &loaded)
		if tt.want == ErrPayload && err == nil && !loaded.Sound {
			err = files.Corrupt(f, ErrPayload) // it decodes all the same
		}
		if !store.IsCorrupt(err) || tt.want != nil && !errors.Is(err, tt.want) || Contradicts(err) == nil {
			t.Errorf("%s: Load says %v", name, err)
		}
		if _, err := files.LoadStored(f, new(Loaded)); !store.IsCorrupt(err) {
			t.Errorf("%s: LoadStored says %v", name, err)
		}
		d := store.Sum(blob(1, 0))
		l := Location{Frame: f, Size: uint32(len(blob(1, 0)))}
		err = files.Use(l, func(data []byte) error { return Check(KindData, d, data) })
		if tt.reading && err != nil {
			t.Errorf("%s: read by its place: %v", name, err)
		}
	}
}

// TestUnreadable tells damage that another attempt may not meet from what contradicts itself.
func TestUnreadable(t *testing.T) {
	fsys := folders(t)
	files := newFiles(t, fsys)
	f := write(t, files, 1, 5)[0]
	var loaded Loaded
	gone := f
	gone.Pack = ID{9}
	if err := files.Load(gone, &loaded); !store.IsCorrupt(err) || Contradicts(err) != nil {
		t.Errorf("a pack that is gone: %v", err)
	}
	past := f
	past.Offset = f.End()
	if err := files.Load(past, &loaded); !store.IsCorrupt(err) || Contradicts(err) != nil {
		t.Errorf("a pack that is too short: %v", err)
	}
	other := f
	other.Kind = KindList
	if err := files.Load(other, &loaded); !store.IsCorrupt(err) || Contradicts(err) == nil {
		t.Errorf("a frame of another kind: %v", err)
	}
	impossible := f
	impossible.Raw = 1 << 31
	if err := files.Load(impossible, &loaded); !errors.Is(err, ErrImpossible) || Contradicts(err) == nil {
		t.Errorf("an impossible frame: %v", err)
	}
	if _, err := files.Role(ID{9}); !store.IsCorrupt(err) {
		t.Errorf("the role of a pack that is gone: %v", err)
	}
}

// TestParseName reads names of packs, and no others.
func TestParseName(t *testing.T) {
	id := ID{1, 2, 3, 0xab}
	if got, ok := ParseName(id.String() + Ext); !ok || got != id {
		t.Errorf("%v, %t", got, ok)
	}
	for _, name := range []string{"", Ext, "01.pack", id.String(), id.String() + ".idx", "010203AB00000000" + Ext, "010203xy00000000" + Ext, "x" + id.String() + Ext} {
		if got, ok := ParseName(name); ok {
			t.Errorf("%q is %v", name, got)
		}
	}
}
