package packed

import (
	"bytes"
	"testing"

	"castar/store"
	"castar/store/packed/internal/care"
	"castar/store/packed/pack"
)

// Stores that were written before have padding in front of payloads that are stored as they are. They can be read, are
// valid, and keep all they have when their frames are moved.
func TestPaddedFrames(t *testing.T) {
	s, fsys := newSampler(), made(t)
	data := random(1, 100<<10)
	h := pack.FrameHead{
		Kind: pack.KindData, Codec: pack.Plain, Start: 4<<10 - pack.PackHeadLen, Stored: uint32(len(data)), Raw: uint32(len(data)),
		PayloadSum: pack.Checksum(data), Items: []pack.Item{{Digest: store.Sum(data), Size: uint32(len(data))}},
	}
	pk := append(pack.AppendFrameHead(pack.AppendPackHead(nil, pack.RoleData), &h), data...)
	dead := random(2, 100<<10)
	h.Start, h.PayloadSum = pack.FrameHeadLen+pack.ItemLen, pack.Checksum(dead)
	h.Items = []pack.Item{{Digest: store.Sum(dead), Size: uint32(len(dead))}}
	pk = append(pack.AppendFrameHead(pk, &h), dead...)
	file, err := fsys.Create((pack.ID{1}).Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(pk); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := s.repair(fsys, store.RepairOptions{}); err != nil || r.Objects != 2 { // makes the index
		t.Fatalf("repair found %d objects, %v", r.Objects, err)
	}
	if !bytes.Equal(fsys.Files()[(pack.ID{1}).Path()], pk) {
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
	keep := st.NewSet()
	if _, err := keep.Add(store.KindFile, store.Sum(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := care.New(st).Sweep(t.Context(), keep, store.SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
	if _, ok := fsys.Files()[(pack.ID{1}).Path()]; ok {
		t.Error("the frame was not moved")
	}
	for _, f := range frames(t, fsys.Files()) {
		if int(f.Start) != pack.FrameHeadLen+pack.ItemLen {
			t.Errorf("the frame that was moved begins its payload at %d", f.Start)
		}
	}
	check("after a move")
}
