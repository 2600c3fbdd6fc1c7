package server

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// newManyGroups returns a store of n blobs, two in each group.
func newManyGroups(t *testing.T, n int) (*store.Store, [][]byte) {
	t.Helper()
	st, g := rpctest.NewGrouped(memory.New())
	var digests [][]byte
	for i := 0; i < n; i += 2 {
		var group store.Group
		for j := range 2 {
			data := fmt.Appendf(nil, "blob %d", i+j)
			d, err := st.Blobs.Put(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			group.Members = append(group.Members, store.Chunk{Digest: d, Size: uint64(len(data))})
			group.Plain = append(group.Plain, data...)
			digests = append(digests, d[:])
		}
		for _, m := range group.Members {
			g.Groups[m.Digest] = group
		}
	}
	return st, digests
}

// GetMany sends each group once, in order, and says how many blobs it has dealt with.
func TestGetMany(t *testing.T) {
	st, digests := newManyGroups(t, 100)
	missing := store.Sum([]byte("missing"))
	stream, err := protos.NewBulkServiceClient(rpctest.Connect(t, serveStore(t, st, Options{}))).GetMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := append([][]byte{missing[:]}, digests...)
	asked = append(asked, digests[0], missing[:])
	for part := range 2 {
		half := len(asked) / 2
		if err := stream.Send(&protos.GetManyRequest{Digests: asked[part*half:][:half]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Send(&protos.GetManyRequest{Digests: asked[len(asked)/2*2:]}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	groups, done := 0, uint64(0)
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if g := resp.GetGroup(); g != nil {
			if !bytes.Equal(g.GetDigests()[0], digests[2*groups]) {
				t.Errorf("group %d is another", groups)
			}
			groups++
		}
		if resp.GetDone() < done {
			t.Errorf("%d are done, after %d", resp.GetDone(), done)
		}
		done = resp.GetDone()
	}
	if groups != 50 || done != uint64(len(asked)) {
		t.Errorf("%d groups, and %d of %d blobs are done", groups, done, len(asked))
	}
}

// GetMany refuses what is no request.
func TestGetManyRefuses(t *testing.T) {
	st, digests := newManyGroups(t, 2)
	conn := rpctest.Connect(t, serveStore(t, st, Options{}))
	for name, tt := range map[string]struct {
		digests [][]byte
		code    codes.Code
	}{
		"too many":     {make([][]byte, wire.MostBlobs+1), codes.InvalidArgument},
		"not a digest": {[][]byte{digests[0], []byte("short")}, codes.InvalidArgument},
		"no digest":    {[][]byte{nil}, codes.InvalidArgument},
	} {
		stream, err := protos.NewBulkServiceClient(conn).GetMany(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&protos.GetManyRequest{Digests: tt.digests}); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	near := rpctest.Connect(t, serveStore(t, memory.New(), Options{}))
	stream, err := protos.NewBulkServiceClient(near).GetMany(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("a store without groups: %v", err)
	}
}
