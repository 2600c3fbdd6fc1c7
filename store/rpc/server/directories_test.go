package server

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

func TestPutDirectories(t *testing.T) {
	tr := rpctest.NewTree(t)
	tests := []struct {
		name string
		send []string
		want string // what the error says; "": none
	}{
		{"one", []string{"a"}, ""},
		{"a closure", []string{"a", "b", "root"}, ""},
		{"the same under the rule of snix", []string{"snix a", "snix b", "snix root"}, ""},
		{"duplicates", []string{"a", "a", "b", "a", "root", "root"}, ""},
		{"nothing", nil, "no directories received"},
		{"a parent first", []string{"b", "a"}, "was not sent before"},
		{"a child is missing", []string{"a", "root"}, "was not sent before"},
		{"two roots", []string{"b-less", "a"}, "2 directories that no other refers to"},
		{"wrong size", []string{"a", "b", "wrong"}, "wrong size"},
		{"two rules in one", []string{"a", "b", "snix b", "both"}, "wrong size"},
		{"no directory", []string{"junk"}, "invalid directory"},
	}
	tr.Encoded["junk"] = []byte{0x20, 1}
	tr.Encoded["b-less"], _ = store.EncodeDirectory(store.Directory{{Name: "f", Kind: store.KindFile}})
	both := store.Directory{{Name: "1", Kind: store.KindDirectory, Digest: store.Sum(tr.Encoded["b"]), Size: 2}, {Name: "2", Kind: store.KindDirectory, Digest: store.Sum(tr.Encoded["snix b"]), Size: 4}}
	tr.Encoded["both"], _ = store.EncodeDirectory(both)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := memory.New()
			conn := rpctest.Connect(t, serveStore(t, st, Options{AllowPut: true}))
			stream, err := protos.NewDirectoryServiceClient(conn).Put(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.send {
				stream.Send(wire.RawDirectory(tr.Encoded[name])) // fails once the server has refused
			}
			resp, err := stream.CloseAndRecv()
			if tt.want != "" {
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			root := store.Sum(tr.Encoded[tt.send[len(tt.send)-1]])
			if err != nil || !bytes.Equal(resp.GetRootDigest(), root[:]) {
				t.Fatalf("%v, %v, want %s", resp, err, root)
			}
			for _, err := range st.Directories.Walk(t.Context(), root) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
