package rpc

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

func TestHostileDirectories(t *testing.T) {
	tr := rpctest.NewTree(t)
	a, b, root := tr.Encoded["a"], tr.Encoded["b"], tr.Encoded["root"]
	stranger, err := store.EncodeDirectory(store.Directory{{Name: "stranger", Kind: store.KindSymlink, Target: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
		send       [][]byte
		end        error
	}{
		{"children first", "nothing before it refers to it", [][]byte{a, b, root}, nil},
		{"another root", "nothing before it refers to it", [][]byte{b, a}, nil},
		{"a stranger", "nothing before it refers to it", [][]byte{root, stranger, b, a}, nil},
		{"truncated", "directories are missing: 1, among them ", [][]byte{root, b}, nil},
		{"only the root", "directories are missing", [][]byte{root}, nil},
		{"not canonical", "nothing before it refers to it", [][]byte{append(bytes.Clone(root), 0x20, 0)}, nil},
		{"damage", "server: disk", [][]byte{root}, status.Error(codes.DataLoss, "disk")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(send func([]byte) error) error {
				for _, b := range tt.send {
					if err := send(b); err != nil {
						return err
					}
				}
				return tt.end
			}})
			c.settle(wire.TvixPackage)
			n := 0
			for _, err = range (directories{c}).Walk(t.Context(), store.Sum(root)) {
				n++
			}
			wantCorrupt(t, err, tt.want)
			if n > len(tt.send)+1 {
				t.Errorf("%d results", n)
			}
			if !bytes.Equal(tt.send[0], root) {
				_, err := directories{c}.Get(t.Context(), store.Sum(root))
				wantCorrupt(t, err, "digest mismatch")
			}
		})
	}
	t.Run("duplicates are left out", func(t *testing.T) {
		c := serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(send func([]byte) error) error {
			return errors.Join(send(root), send(b), send(root), send(a), send(a))
		}})
		n := 0
		for _, err := range (directories{c}).Walk(t.Context(), store.Sum(root)) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 3 {
			t.Errorf("%d directories, want 3", n)
		}
	})
}
