package rpc

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// honest is a server with a blob cut into chunks. Like tvix and snix it sends 4 KiB in a message, and no proofs.
func honest(data []byte, size int) (*liar, map[store.Digest][]byte) {
	chunks, parts := cut(data, size)
	parts[store.Sum(data)] = data
	return &liar{
		stat: func(req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
			if store.Digest(req.GetDigest()) != store.Sum(data) {
				return nil, status.Error(codes.NotFound, "no")
			}
			return &protos.StatBlobResponse{Chunks: chunks}, nil
		},
		read: func(d store.Digest, send func([]byte) error) error {
			b, ok := parts[d]
			if !ok {
				return status.Error(codes.NotFound, "no")
			}
			for len(b) > 0 {
				n := min(len(b), 4096)
				if err := send(b[:n]); err != nil {
					return err
				}
				b = b[n:]
			}
			return nil
		},
	}, parts
}

const (
	longBlob  = 3 << 20
	longChunk = 200_000
)

func TestUpstreamServer(t *testing.T) {
	data := rpctest.Random(longBlob)
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		l, _ := honest(data, longChunk)
		c := serveLies(t, pkg, l, nil)
		b, err := blobs{c: c}.Open(t.Context(), store.Sum(data))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if n, err := b.WriteTo(&got); n != longBlob || err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%s: WriteTo = %d, %v", pkg, n, err)
		}
		part := make([]byte, 1000)
		if _, err := b.Seek(-1_500_000, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, part); err != nil || !bytes.Equal(part, data[longBlob-1_500_000:][:1000]) {
			t.Errorf("%s: Read in the middle: %v", pkg, err)
		}
		if _, err := (blobs{c: c}).Open(t.Context(), store.Sum(nil)); !store.IsNotFound(err) {
			t.Errorf("%s: absent blob: %v", pkg, err)
		}
		b.Close()
	}
}

func TestHostileChunks(t *testing.T) {
	data := rpctest.Random(longBlob)
	d := store.Sum(data)
	other := rpctest.Random(longBlob + 1)[1:]
	chunks, _ := cut(data, longChunk)
	spoiled := store.Digest(chunks[7].GetDigest())
	tests := []struct {
		name, want string
		lie        func(l *liar, parts map[store.Digest][]byte)
	}{
		{"wrong bytes in a chunk", "digest mismatch", func(l *liar, parts map[store.Digest][]byte) {
			b := bytes.Clone(parts[spoiled])
			b[100] ^= 1
			parts[spoiled] = b
		}},
		{"missing chunk", "not found", func(l *liar, parts map[store.Digest][]byte) { delete(parts, spoiled) }},
		{"short chunk", "ends after", func(l *liar, parts map[store.Digest][]byte) { parts[spoiled] = parts[spoiled][:longChunk-1] }},
		{"long chunk", "longer than", func(l *liar, parts map[store.Digest][]byte) { parts[spoiled] = data[:longChunk+1] }},
		{"endless chunk", "longer than", func(l *liar, parts map[store.Digest][]byte) {
			read := l.read
			l.read = func(d store.Digest, send func([]byte) error) error {
				for d == spoiled {
					if err := send(data[:wire.FrameSize]); err != nil {
						return err
					}
				}
				return read(d, send)
			}
		}},
		{"list of another blob", "digest mismatch", func(l *liar, parts map[store.Digest][]byte) {
			list, others := cut(other, longChunk)
			for d, b := range others {
				parts[d] = b
			}
			l.stat = func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
				return &protos.StatBlobResponse{Chunks: list}, nil
			}
		}},
		{"list in another order", "digest mismatch", func(l *liar, _ map[store.Digest][]byte) {
			list, _ := cut(data, longChunk)
			list[3], list[4] = list[4], list[3]
			l.stat = func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
				return &protos.StatBlobResponse{Chunks: list}, nil
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, parts := honest(data, longChunk)
			tt.lie(l, parts)
			c := serveLies(t, wire.SnixPackage, l, nil)
			readsFail(t, c, d, tt.want)
		})
	}
}

// readsFail checks that every way to read the blob d fails because of damage.
func readsFail(t *testing.T, c *client, d store.Digest, want string) {
	t.Helper()
	for name, read := range map[string]func(store.Blob) error{
		"WriteTo": func(b store.Blob) error { _, err := b.WriteTo(io.Discard); return err },
		"Read": func(b store.Blob) error {
			got, err := io.ReadAll(struct{ io.Reader }{b})
			if len(got) == longBlob {
				t.Error("Read returned all of it")
			}
			return err
		},
	} {
		b, err := blobs{c: c}.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { wantCorrupt(t, read(b), want) })
		b.Close()
	}
}

func TestHostileLists(t *testing.T) {
	data := rpctest.Random(longBlob)
	tests := []struct {
		name, want string
		chunk      *protos.StatBlobResponse_ChunkMeta
	}{
		{"short digest", "chunk 1: invalid digest length 31", &protos.StatBlobResponse_ChunkMeta{Digest: make([]byte, 31), Size: 1}},
		{"empty chunk", "chunk 1: invalid size 0", &protos.StatBlobResponse_ChunkMeta{Digest: make([]byte, 32)}},
		{"huge chunk", "chunk 1: invalid size 18446744073709551615", &protos.StatBlobResponse_ChunkMeta{Digest: make([]byte, 32), Size: 1<<64 - 1}},
		{"too few bytes", "the chunks have 2 bytes", &protos.StatBlobResponse_ChunkMeta{Digest: make([]byte, 32), Size: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := honest(data, longChunk)
			first := &protos.StatBlobResponse_ChunkMeta{Digest: make([]byte, 32), Size: 1}
			l.stat = func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
				return &protos.StatBlobResponse{Chunks: []*protos.StatBlobResponse_ChunkMeta{first, tt.chunk}}, nil
			}
			_, err := blobs{c: serveLies(t, wire.TvixPackage, l, nil)}.Open(t.Context(), store.Sum(data))
			wantCorrupt(t, err, tt.want)
		})
	}
}

// Without chunks and proofs, all of a blob must be read before any of it can be returned.
func TestSpool(t *testing.T) {
	data := rpctest.Random(longBlob)
	l, parts := honest(data, longBlob)
	l.stat = func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
		return new(protos.StatBlobResponse), nil
	}
	c := serveLies(t, wire.TvixPackage, l, nil)
	b, err := blobs{c: c}.Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	b.Close()
	parts[store.Sum(data)] = data[:longBlob-1]
	_, err = blobs{c: c}.Open(t.Context(), store.Sum(data))
	wantCorrupt(t, err, "digest mismatch")

	c.maxSpool = 2 * longBlob
	l.read = func(_ store.Digest, send func([]byte) error) error {
		for {
			if err := send(data[:wire.FrameSize]); err != nil {
				return err
			}
		}
	}
	_, err = blobs{c: c}.Open(t.Context(), store.Sum(data))
	wantCorrupt(t, err, "longer than")
}

// withProof is a server with a blob and its proof. It sends served for the blob, and the chunks of something.
func withProof(data, served, chunks, proof []byte) *liar {
	list, parts := cut(chunks, longChunk)
	parts[store.Sum(data)] = served
	l, _ := honest(data, longBlob)
	l.stat = func(req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
		resp := &protos.StatBlobResponse{}
		if req.GetSendChunks() {
			resp.Chunks = list
		}
		if req.GetSendBao() {
			resp.Bao = proof
		}
		return resp, nil
	}
	l.read = func(d store.Digest, send func([]byte) error) error {
		for b := parts[d]; len(b) > 0; b = b[min(len(b), 100_000):] {
			if err := send(b[:min(len(b), 100_000)]); err != nil {
				return err
			}
		}
		return nil
	}
	return l
}

// A proof shows at once where a stream, or a list of chunks, is wrong.
func TestProof(t *testing.T) {
	data := rpctest.Random(longBlob)
	d := store.Sum(data)
	proof, err := wire.Prove(store.BytesBlob(data), d)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(data)
	wrong[2_000_000] ^= 1
	spoiledProof := bytes.Clone(proof)
	spoiledProof[500] ^= 1
	otherSize := bytes.Clone(proof)
	binary.LittleEndian.PutUint64(otherSize, longBlob-1)
	tests := []struct {
		name   string
		proof  []byte
		served []byte // what Read sends
		chunks []byte // what the chunks are of; nil: none
		from   int64
		want   string // "" where that part is right
	}{
		{"right", proof, data, nil, 1_234_567, ""},
		{"right before the damage", proof, wrong, nil, 1_000_000, ""},
		{"wrong", proof, wrong, nil, 1_999_999, "digest mismatch"},
		{"ends early", proof, data[:2_000_500], nil, 2_000_000, "ends too early"},
		{"wrong proof", spoiledProof, data, nil, 0, "digest mismatch"},
		{"wrong length", otherSize, data, nil, longBlob - 100, "digest mismatch"},
		{"proof cut short", proof[:len(proof)-64], data, nil, 0, "a proof of"},
		{"no proof at all", proof[:7], data, nil, 0, "a proof of 7 bytes"},
		{"chunks", proof, data, data, 1_234_567, ""},
		{"chunks of something else", proof, data, wrong, 1_999_999, "digest mismatch"},
		{"chunks without a proof", nil, data, data, 1_234_567, ""},
		{"chunks of something else without a proof", nil, data, wrong, 1_999_999, "digest mismatch"},
		{"chunks of another length", proof, data, append(bytes.Clone(data), 1), 1_000_000, "the proof is for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := withProof(data, tt.served, tt.chunks, tt.proof)
			c := serveLies(t, wire.TvixPackage, l, nil)
			got := make([]byte, 100)
			b, err := blobs{c: c}.Open(t.Context(), d)
			if err == nil {
				defer b.Close()
				if _, err := b.Seek(tt.from, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadFull(b, got)
			}
			if tt.want != "" {
				wantCorrupt(t, err, tt.want)
			} else if err != nil || !bytes.Equal(got, data[tt.from:][:100]) {
				t.Errorf("%v, or wrong bytes", err)
			}
		})
	}
}
