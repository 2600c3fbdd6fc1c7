package rpc

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// A server that takes only whole blobs gets a long one once, and not at all if it has it. If the blob cannot be spooled,
// it is sent without asking.
func TestSpoolWriter(t *testing.T) {
	data := rpctest.Random(longBlob)
	for _, tt := range []struct {
		name     string
		there    bool
		maxSpool int64
		prepare  func(t *testing.T, h *spoolWriter)
		puts     int
	}{
		{"lacking", false, longBlob, nil, 1},
		{"there", true, longBlob, nil, 0},
		{"there, and too long", true, longBlob - 1, nil, 1},
		{"there, and nothing is kept", true, 0, nil, 1},
		{"there, and no file can be made", true, longBlob, nil, 1},
		{"there, and the file is full", true, longBlob, fill, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got [][]byte
			l := &liar{put: func(data []byte) store.Digest {
				got = append(got, data)
				return store.Sum(data)
			}}
			l.stat = func(req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
				if tt.there && store.Digest(req.GetDigest()) == store.Sum(data) {
					return new(protos.StatBlobResponse), nil
				}
				return nil, status.Error(codes.NotFound, "no")
			}
			c := serveLies(t, wire.TvixPackage, l, nil)
			c.maxSpool = tt.maxSpool
			if strings.HasSuffix(tt.name, "no file can be made") {
				t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
			}
			b, _ := blobs{c: c}.Create(t.Context())
			w := b.(*writer)
			defer w.Close()
			long, err := blobs{c: c}.long(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			h := long.(*spoolWriter)
			w.long = h
			for i, part := range [][]byte{data[:600_000], data[600_000 : 1<<20], data[1<<20:]} {
				if i == 2 && tt.prepare != nil {
					tt.prepare(t, h)
				}
				if _, err := w.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			d, err := w.Commit()
			if err != nil || d != store.Sum(data) {
				t.Fatal(err)
			}
			if len(got) != tt.puts || tt.puts > 0 && !bytes.Equal(got[0], data) {
				t.Errorf("%d blobs were sent, want %d", len(got), tt.puts)
			}
			if !c.known.has(d) {
				t.Error("the client does not know that it is there")
			}
		})
	}
}

// fill makes the file of a blob refuse writes.
func fill(t *testing.T, h *spoolWriter) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "full")
	filed := make([]byte, h.kept.filed)
	if _, err := h.kept.file.ReadAt(filed, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, filed, 0o600); err != nil {
		t.Fatal(err)
	}
	h.kept.file.Close()
	var err error
	if h.kept.file, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
}

// A spooled blob is sent again from its start if the call is cut off.
func TestSpoolWriterRetry(t *testing.T) {
	data := rpctest.Random(longBlob)
	var calls atomic.Int32
	var got []byte
	l := &liar{put: func(data []byte) store.Digest {
		got = data
		return store.Sum(data)
	}}
	l.cut = func() error {
		if calls.Add(1) == 1 {
			return status.Error(codes.Unavailable, "not now")
		}
		return nil
	}
	c := serveLies(t, wire.TvixPackage, l, nil)
	if _, err := create(t.Context(), blobs{c: c}, data); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 2 || !bytes.Equal(got, data) {
		t.Errorf("%d calls, and %d bytes of %d", n, len(got), len(data))
	}
}

// Another digest in the answer is an error, whether the blob was spooled or not.
func TestHostileSpoolWriter(t *testing.T) {
	for _, maxSpool := range []int64{0, longBlob} {
		l := &liar{put: func(data []byte) store.Digest { return store.Sum(data[1:]) }}
		c := serveLies(t, wire.TvixPackage, l, nil)
		c.maxSpool = maxSpool
		_, err := create(t.Context(), blobs{c: c}, rpctest.Random(longBlob))
		wantCorrupt(t, err, "the server calls it")
	}
}
