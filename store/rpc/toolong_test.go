package rpc

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
	"castar/store/storetest"
)

// wide returns a directory with n entries.
func wide(n int) store.Directory {
	dir := make(store.Directory, n)
	for i := range dir {
		dir[i] = store.Node{Name: fmt.Sprintf("%08d", i), Kind: store.KindFile, Digest: store.Digest{1}}
	}
	return dir
}

// tonic refuses long messages in its own words.
type tonic struct {
	protos.UnimplementedDirectoryServiceServer
	most int
}

func (s *tonic) Put(stream grpc.ClientStreamingServer[protos.Directory, protos.PutDirectoryResponse]) error {
	for {
		b, err := wire.RecvDirectory(stream)
		if err != nil {
			return err
		}
		if len(b) > s.most {
			return status.Errorf(codes.OutOfRange, "Error, decoded message length too large: found %d bytes, the limit is: %d bytes", len(b), s.most)
		}
	}
}

// The error for a directory that is too long for a server names it, even if others were sent after it.
func TestLongDirectory(t *testing.T) {
	storetest.NotUnderRace(t)
	const limit = 4 << 20
	servers := map[string]func(t *testing.T) *client{
		"gRPC": func(t *testing.T) *client { return serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{}) },
		"castar": func(t *testing.T) *client {
			c := newClient(connect(t, serveStore(t, memory.New(), server.Options{AllowPut: true, MaxMessage: limit})), "")
			t.Cleanup(c.outbox.close)
			return c
		},
		"tonic": func(t *testing.T) *client {
			s := grpc.NewServer(grpc.MaxRecvMsgSize(limit * 4))
			s.RegisterService(wire.Under(wire.SnixPackage, protos.DirectoryService_ServiceDesc), &tonic{most: limit})
			c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.SnixPackage)
			t.Cleanup(c.outbox.close)
			return c
		},
	}
	dir := wide(100_000)
	message, err := store.EncodeDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("directory %s: its 100000 entries make a message of %d bytes, and the server takes at most %d", store.Sum(message), len(message), limit)
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			c := serve(t)
			u, err := directories{c}.Upload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			for i := 0; i < 1000 && err == nil; i++ {
				next := wide(i % 10)
				if i == 5 {
					next = dir
				}
				_, err = u.Put(t.Context(), next)
			}
			if err == nil {
				err = u.Commit(t.Context(), store.Sum(message))
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if _, err := (directories{c}).Put(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("by itself: error %v, want %q", err, want)
			}
		})
	}
}

// A directory that is too long for the client is an error that says so.
func TestLongAnswer(t *testing.T) {
	message := make([]byte, clientMessageSize+1)
	c := serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(send func([]byte) error) error { return send(message) }})
	d := store.Digest{1}
	_, err := directories{c}.Get(t.Context(), d)
	want := fmt.Sprintf("%s: the server's message is longer than %d bytes", d, clientMessageSize)
	if err == nil || err.Error() != want {
		t.Errorf("Get: %v, want %q", err, want)
	}
	for _, err := range (directories{c}).Walk(t.Context(), d) {
		if err == nil || err.Error() != "directory "+want {
			t.Errorf("Walk: %v, want %q", err, "directory "+want)
		}
	}
}
