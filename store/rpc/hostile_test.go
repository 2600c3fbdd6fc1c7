package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// liar is a server that does whatever a test wants. What it is not told is Unimplemented.
type liar struct {
	protos.UnimplementedBlobServiceServer
	stat func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error)
	read func(store.Digest, func([]byte) error) error
	put  func([]byte) store.Digest
	cut  func() error // nil: no call of Put is cut off
}

func (l *liar) Stat(_ context.Context, req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
	if l.stat == nil {
		return nil, status.Error(codes.NotFound, "no")
	}
	return l.stat(req)
}

func (l *liar) Read(req *protos.ReadBlobRequest, stream grpc.ServerStreamingServer[protos.BlobChunk]) error {
	return l.read(store.Digest(req.GetDigest()), func(b []byte) error { return stream.Send(&protos.BlobChunk{Data: b}) })
}

func (l *liar) Put(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) error {
	if l.cut != nil {
		if err := l.cut(); err != nil {
			return err
		}
	}
	var all []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, m.GetData()...)
	}
	d := l.put(all)
	return stream.SendAndClose(&protos.PutBlobResponse{Digest: d[:]})
}

// directoryLiar is the same for directories.
type directoryLiar struct {
	protos.UnimplementedDirectoryServiceServer
	get func(send func([]byte) error) error
	put func() store.Digest
}

func (l *directoryLiar) Get(_ *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	if l.get == nil {
		return status.Error(codes.NotFound, "no")
	}
	return l.get(func(b []byte) error { return stream.SendMsg(wire.RawDirectory(b)) })
}

func (l *directoryLiar) Put(stream grpc.ClientStreamingServer[protos.Directory, protos.PutDirectoryResponse]) error {
	for {
		if _, err := stream.Recv(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	d := l.put()
	return stream.SendAndClose(&protos.PutDirectoryResponse{RootDigest: d[:]})
}

// serveLies starts a server of upstream's kind, under one package only.
func serveLies(t *testing.T, pkg string, bl *liar, dl *directoryLiar) *client {
	t.Helper()
	s := grpc.NewServer()
	s.RegisterService(wire.Under(pkg, protos.BlobService_ServiceDesc), bl)
	if dl != nil {
		s.RegisterService(wire.Under(pkg, protos.DirectoryService_ServiceDesc), dl)
	}
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
	t.Cleanup(c.outbox.close)
	return c
}

// cut cuts data into chunks of a fixed length.
func cut(data []byte, size int) (chunks []*protos.StatBlobResponse_ChunkMeta, parts map[store.Digest][]byte) {
	parts = map[store.Digest][]byte{}
	for len(data) > 0 {
		part := data[:min(size, len(data))]
		d := store.Sum(part)
		chunks = append(chunks, &protos.StatBlobResponse_ChunkMeta{Digest: d[:], Size: uint64(len(part))})
		parts[d] = part
		data = data[len(part):]
	}
	return chunks, parts
}

// wantCorrupt checks that err is damage, and not something missing.
func wantCorrupt(t *testing.T, err error, text string) {
	t.Helper()
	if _, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one of damage that says %q", err, text)
	}
	if text != "not found" && store.IsNotFound(err) {
		t.Errorf("%v is taken for absence", err)
	}
}

func TestHostileSmallBlobs(t *testing.T) {
	data := rpctest.Random(1000)
	d := store.Sum(data)
	tests := []struct {
		name, want string
		read       func(send func([]byte) error) error
	}{
		{"wrong bytes", "digest mismatch", func(send func([]byte) error) error { return send(rpctest.Random(1001)) }},
		{"truncated", "digest mismatch", func(send func([]byte) error) error { return send(data[:999]) }},
		{"empty", "digest mismatch", func(func([]byte) error) error { return nil }},
		{"too long", "digest mismatch", func(send func([]byte) error) error {
			return errors.Join(send(data), send([]byte{0}))
		}},
		{"says so", "server: broken disk", func(func([]byte) error) error { return status.Error(codes.DataLoss, "broken disk") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serveLies(t, wire.TvixPackage, &liar{read: func(_ store.Digest, send func([]byte) error) error { return tt.read(send) }}, nil)
			_, err := blobs{c: c}.Open(t.Context(), d)
			wantCorrupt(t, err, tt.want)
		})
	}
}

// honest answers from a blob cut into chunks, as upstream does: 4 KiB a message, and no proofs.
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
				t.Run(name, func(t *testing.T) { wantCorrupt(t, read(b), tt.want) })
				b.Close()
			}
		})
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

// Without chunks and proofs, all must be read before anything can be believed.
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

// A proof shows at once where a stream goes wrong, or a list of chunks.
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
			list, parts := cut(tt.chunks, longChunk)
			parts[d] = tt.served
			l, _ := honest(data, longBlob)
			l.stat = func(req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
				resp := &protos.StatBlobResponse{}
				if req.GetSendChunks() {
					resp.Chunks = list
				}
				if req.GetSendBao() {
					resp.Bao = tt.proof
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

func TestHostilePut(t *testing.T) {
	l := &liar{put: func([]byte) store.Digest { return store.Sum([]byte("something else")) }}
	dl := &directoryLiar{put: func() store.Digest { return store.Digest{1} }}
	for _, n := range []int{0, 10, askSize + 1, wire.FrameSize + 1, longBlob} {
		c := serveLies(t, wire.SnixPackage, l, dl)
		_, err := blobs{c: c}.Put(t.Context(), rpctest.Random(n))
		if err == nil {
			err = barrier{c}.Sync(t.Context())
		}
		wantCorrupt(t, err, "digest mismatch")
		if c.known.has(store.Sum(rpctest.Random(n))) {
			t.Error("it is taken to be there")
		}
	}
	c := serveLies(t, wire.SnixPackage, l, dl)
	w, _ := blobs{c: c}.Create(t.Context())
	defer w.Close()
	w.Write(rpctest.Random(longBlob))
	_, err := w.Commit()
	wantCorrupt(t, err, "digest mismatch")

	u, _ := directories{c}.Upload(t.Context())
	defer u.Close()
	root, err := u.Put(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantCorrupt(t, u.Commit(t.Context(), root), "digest mismatch")
}

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
		{"children first", "to which no other before it refers", [][]byte{a, b, root}, nil},
		{"another root", "to which no other before it refers", [][]byte{b, a}, nil},
		{"a stranger", "to which no other before it refers", [][]byte{root, stranger, b, a}, nil},
		{"truncated", "1 directories are missing", [][]byte{root, b}, nil},
		{"only the root", "directories are missing", [][]byte{root}, nil},
		{"not canonical", "to which no other before it refers", [][]byte{append(bytes.Clone(root), 0x20, 0)}, nil},
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
			c.directories.settle(wire.TvixPackage)
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

// What hashes to its name and is no directory must not get through either.
func TestHostileMessages(t *testing.T) {
	noDirectory := []byte{0x20, 0x01}
	c := serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(send func([]byte) error) error { return send(noDirectory) }})
	_, err := directories{c}.Get(t.Context(), store.Sum(noDirectory))
	wantCorrupt(t, err, "invalid directory")

	c = serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(func([]byte) error) error { return nil }})
	_, err = directories{c}.Get(t.Context(), store.Sum(noDirectory))
	wantCorrupt(t, err, "the answer is empty")

	huge := make([]byte, clientMessageSize)
	l := &liar{read: func(_ store.Digest, send func([]byte) error) error { return send(huge) }}
	_, err = blobs{c: serveLies(t, wire.TvixPackage, l, nil)}.Open(t.Context(), store.Sum(huge))
	if err == nil || !strings.Contains(err.Error(), "larger than max") || store.IsNotFound(err) {
		t.Errorf("a message that is too long: %v", err)
	}
}

// TestSilence has a server that answers nothing.
func TestSilence(t *testing.T) {
	release := make(chan struct{})
	l := &liar{
		read: func(store.Digest, func([]byte) error) error { <-release; return nil },
		put:  func([]byte) store.Digest { <-release; return store.Digest{} },
	}
	c := serveLies(t, wire.TvixPackage, l, &directoryLiar{
		get: func(func([]byte) error) error { <-release; return nil },
		put: func() store.Digest { <-release; return store.Digest{} },
	})
	t.Cleanup(func() { close(release) })
	c.blobs.settle(wire.TvixPackage)
	c.directories.settle(wire.TvixPackage)
	c.patience = 20 * time.Millisecond
	_, err := blobs{c: c}.Open(t.Context(), store.Sum(nil))
	wantSilence(t, err)
	_, err = directories{c}.Get(t.Context(), store.Sum(nil))
	wantSilence(t, err)
	for _, err = range (directories{c}).Walk(t.Context(), store.Sum(nil)) {
	}
	wantSilence(t, err)
	_, err = blobs{c: c}.Put(t.Context(), rpctest.Random(longBlob))
	wantSilence(t, err)
	u, _ := directories{c}.Upload(t.Context())
	defer u.Close()
	if _, err := u.Put(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, u.Commit(t.Context(), store.Sum(nil)))
}

func wantSilence(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, errNoAnswer) {
		t.Errorf("error %v, want %v", err, errNoAnswer)
	}
}

// A server that is not reached yet is asked again.
func TestRetry(t *testing.T) {
	data := rpctest.Random(1000)
	failures := 2
	l := &liar{read: func(_ store.Digest, send func([]byte) error) error {
		if failures > 0 {
			failures--
			return status.Error(codes.Unavailable, "not yet")
		}
		return send(data)
	}}
	c := serveLies(t, wire.TvixPackage, l, nil)
	b, err := blobs{c: c}.Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != 1000 || failures != 0 {
		t.Errorf("%d bytes, %d failures left", b.Size(), failures)
	}
}
