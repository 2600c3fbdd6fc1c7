package packed

import (
	"bytes"
	"testing"

	"castar/store"
)

// Stores that were written before have padding in front of payloads that are stored as they are. They can be read, are
// valid, and keep all they have when their frames are moved.
func TestPaddedFrames(t *testing.T) {
	s, fsys := newSampler(), made(t)
	data := random(1, 100<<10)
	h := frameHead{
		kind: kindData, codec: codecRaw, start: blockSize - packHeadLen, stored: uint32(len(data)), raw: uint32(len(data)),
		payloadSum: checksum(data), items: []item{{store.Sum(data), uint32(len(data))}},
	}
	pack := append(appendFrameHead(appendPackHead(nil, roleData), &h), data...)
	file, err := fsys.Create(packPath(packID{1}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(pack); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.repair(fsys, store.RepairOptions{}); err != nil || r.Objects != 1 { // makes the index
		t.Fatalf("repair found %d objects, %v", r.Objects, err)
	}
	if !bytes.Equal(fsys.Files()[packPath(packID{1})], pack) {
		t.Error("repair has changed the pack")
	}
	check := func(when string) {
		t.Helper()
		if found, err := s.damage(t.Context(), fsys); err != nil || len(found) > 0 {
			t.Errorf("%s: verify found %v, %v", when, found, err)
		}
		st, err := openFS(t.Context(), fsys, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, st)
		if got, err := readBlob(t.Context(), st, store.Sum(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes, %v", when, len(got), err)
		}
	}
	check("as written")

	st, err := openFS(t.Context(), fsys, Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	sw := st.newSweep()
	p, err := sw.plan(*st.indexes.Load(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.packs[packID{1}].rewrite = true
	if err := sw.round(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
	if _, ok := fsys.Files()[packPath(packID{1})]; ok {
		t.Error("the frame was not moved")
	}
	for _, f := range frames(t, fsys.Files()) {
		if int(f.start) != frameHeadLen+itemLen {
			t.Errorf("the frame that was moved begins its payload at %d", f.start)
		}
	}
	check("after a move")
}
