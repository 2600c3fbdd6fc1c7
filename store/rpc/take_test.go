package rpc

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/server"
	"castar/store/zstd"
)

// TestTake asserts that a group goes to the server in the frame that it has, unless the server has a part of it.
func TestTake(t *testing.T) {
	st, grouped := rpctest.NewGrouped(memory.New())
	st, joiner := rpctest.NewJoiner(st)
	far := New(connect(t, serveStore(t, st, server.Options{AllowPut: true})), "server", "take", "")
	defer far.Close()
	if got := far.Takes.ChunkSize(); got != joiner.Size {
		t.Fatalf("chunks of %d bytes, want %d", got, joiner.Size)
	}
	enc, err := zstd.NewEncoder(1, zstd.Default) // not as the client would do it
	if err != nil {
		t.Fatal(err)
	}
	group := func(parts ...string) (g store.Group, raw []byte) {
		for _, p := range parts {
			g.Members = append(g.Members, store.Chunk{Digest: store.Sum([]byte(p)), Size: uint64(len(p))})
			raw = append(raw, p...)
		}
		if g.Frame, err = enc.Append(nil, raw); err != nil {
			t.Fatal(err)
		}
		return g, raw
	}
	a, b := fmt.Sprint(slices.Repeat([]int{1}, 9999)), fmt.Sprint(slices.Repeat([]int{2}, 9999))
	first, raw := group(a, b)
	for i, want := range []bool{true, false} {
		if taken, err := far.Takes.TakeGroup(t.Context(), first, raw); err != nil || taken != want {
			t.Fatalf("time %d: taken %t, %v; want %t", i, taken, err, want)
		}
	}
	if err := far.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(grouped.Frames) != 1 || !bytes.Equal(grouped.Frames[0], first.Frame) {
		t.Errorf("%d frames, or not the one that was sent", len(grouped.Frames))
	}
	whole := store.Sum([]byte(a + b))
	if err := far.Takes.TakeList(t.Context(), whole, first.Members); err != nil {
		t.Fatal(err)
	}
	if err := far.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if has, err := st.Blobs.Has(t.Context(), whole); err != nil || !has {
		t.Errorf("the joined blob: %t, %v", has, err)
	}
	wrong, raw := group("one", "two")
	wrong.Members[1].Digest = store.Sum([]byte("three"))
	_, err = far.Takes.TakeGroup(t.Context(), wrong, raw)
	if err == nil {
		err = far.Sync(t.Context()) // at the latest
	}
	if !store.IsCorrupt(err) {
		t.Errorf("a group that is not what it says: %v, want that it is corrupt", err)
	}
}

// TestTakeNothing asserts that a client passes on no groups to a server that may not take them.
func TestTakeNothing(t *testing.T) {
	for name, o := range map[string]server.Options{"read-only": {}, "without castar.v1": {AllowPut: true, Upstream: true}} {
		st, _ := rpctest.NewJoiner(memory.New())
		far := New(connect(t, serveStore(t, st, o)), "server", "take", "")
		if n := far.Takes.ChunkSize(); n != 0 {
			t.Errorf("%s: chunks of %d bytes", name, n)
		}
		taken, err := far.Takes.TakeGroup(t.Context(), store.Group{Members: []store.Chunk{{Digest: store.Sum(nil)}}}, nil)
		if taken || err != nil {
			t.Errorf("%s: taken %t, %v", name, taken, err)
		}
		far.Close()
	}
}
