package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
}

// TestTakeAhead asserts that a group is on its way while the next is taken, that its members are not asked for again, and
// that what is wrong with it shows at the next Sync.
func TestTakeAhead(t *testing.T) {
	st, _ := rpctest.NewGrouped(memory.New())
	st, _ = rpctest.NewJoiner(st)
	both, slow := make(chan struct{}), &meetingGroups{Grouper: st.Groups}
	slow.all.Add(2)
	go func() {
		slow.all.Wait()
		close(both)
	}()
	slow.met, st.Groups = both, slow
	far, c := countCalls(t, st)
	enc, err := zstd.NewEncoder(1, zstd.Fast)
	if err != nil {
		t.Fatal(err)
	}
	var ds []store.Digest
	for i := range 2 {
		data := bytes.Repeat(fmt.Append(nil, i), 50_000)
		ds = append(ds, store.Sum(data))
		if i == 0 {
			if _, err := far.RemoteBlobs.HasAll(t.Context(), append(ds, store.Sum(bytes.Repeat([]byte("1"), 50_000)))); err != nil {
				t.Fatal(err)
			}
		}
		frame, err := enc.Append(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		group := store.Group{Members: []store.Chunk{{Digest: ds[i], Size: uint64(len(data))}}, Frame: frame}
		if taken, err := far.Takes.TakeGroup(t.Context(), group, data); !taken || err != nil {
			t.Fatalf("group %d: taken %t, %v", i, taken, err)
		}
		clear(frame)
	}
	if err := far.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := c.n["BulkService/Has"]; n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	for _, d := range ds {
		if has, err := st.Blobs.Has(t.Context(), d); !has || err != nil {
			t.Errorf("%s: %t, %v", d, has, err)
		}
	}
	wrong := store.Group{Members: []store.Chunk{{Digest: store.Sum([]byte("other")), Size: 9}}}
	if wrong.Frame, err = enc.Append(nil, []byte("something")); err != nil {
		t.Fatal(err)
	}
	if _, err = far.Takes.TakeGroup(t.Context(), wrong, []byte("something")); err == nil {
		err = far.Sync(t.Context())
	}
	if !store.IsCorrupt(err) {
		t.Errorf("a group that is not what it says: %v, want that it is corrupt", err)
	}
}

// meetingGroups puts groups only when several were sent.
type meetingGroups struct {
	store.Grouper
	all sync.WaitGroup
	met chan struct{}
	n   atomic.Int32
}

func (m *meetingGroups) PutGroup(ctx context.Context, raw []byte, sizes []int, frame []byte) ([]store.Digest, error) {
	if m.n.Add(1) <= 2 {
		m.all.Done()
	}
	select {
	case <-m.met:
	case <-time.After(time.Minute):
		return nil, errors.New("the other group is not sent")
	}
	return m.Grouper.PutGroup(ctx, raw, sizes, frame)
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
