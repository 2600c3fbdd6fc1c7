// Package peer imitates the servers of tvix and snix for tests: what they store, find and refuse, and the words of their
// errors.
package peer

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"castar/protos"
	"castar/store"
)

// The packages of the services of both programs.
const (
	Tvix = "tvix.castore.v1"
	Snix = "snix.castore.v1"
)

// Long blobs are kept in pieces of chunkSize bytes, and are sent in messages of messageSize bytes.
const (
	chunkSize   = 256 << 10
	messageSize = 4096
)

// Server is a daemon that keeps directories in an object store. It finds a directory by its digest only if that was the
// root of an upload. It refuses directories whose sizes are not counted as tvix and snix count them.
type Server struct {
	Package  string // Tvix or Snix
	Backward bool   // send the last child of a directory first, in the order of storing; otherwise the first

	mu       sync.Mutex
	blobs    map[store.Digest][]byte
	closures map[store.Digest][]store.Digest // by root, which is the first
	messages map[store.Digest][]byte         // of directories
	gets     int
}

// Start serves l until the test ends or stop is called.
func (s *Server) Start(l net.Listener) (stop func()) {
	s.blobs = map[store.Digest][]byte{store.Sum(nil): nil}
	s.closures, s.messages = map[store.Digest][]store.Digest{}, map[store.Digest][]byte{}
	g := grpc.NewServer()
	blobs, directories := protos.BlobService_ServiceDesc, protos.DirectoryService_ServiceDesc
	blobs.ServiceName, directories.ServiceName = s.Package+".BlobService", s.Package+".DirectoryService"
	g.RegisterService(&blobs, &blobServer{s: s})
	g.RegisterService(&directories, &directoryServer{s: s})
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Serve(l)
	}()
	return func() {
		g.Stop()
		<-done
	}
}

// Gets returns the number of requests for directories.
func (s *Server) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Forget removes a blob, or removes a directory from all closures except those that it is the root of.
func (s *Server) Forget(d store.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, d)
	for root, list := range s.closures {
		s.closures[root] = slices.DeleteFunc(list, func(member store.Digest) bool { return member == d && d != root })
	}
}

func digestOf(b []byte) (store.Digest, error) {
	d, err := store.DigestFromBytes(b)
	if err != nil {
		err = status.Error(codes.InvalidArgument, "invalid digest length")
	}
	return d, err
}

type blobServer struct {
	protos.UnimplementedBlobServiceServer
	s *Server
}

// blob returns a blob or a chunk.
func (b *blobServer) blob(digest []byte) ([]byte, error) {
	d, err := digestOf(digest)
	if err != nil {
		return nil, err
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	data, ok := b.s.blobs[d]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "blob %s not found", d.Snix())
	}
	return data, nil
}

func (b *blobServer) Stat(_ context.Context, req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
	data, err := b.blob(req.GetDigest())
	resp := &protos.StatBlobResponse{}
	if err != nil || len(data) <= chunkSize {
		return resp, err
	}
	for chunk := range slices.Chunk(data, chunkSize) {
		d := store.Sum(chunk)
		resp.Chunks = append(resp.Chunks, &protos.StatBlobResponse_ChunkMeta{Digest: d[:], Size: uint64(len(chunk))})
	}
	return resp, nil
}

func (b *blobServer) Read(req *protos.ReadBlobRequest, stream grpc.ServerStreamingServer[protos.BlobChunk]) error {
	data, err := b.blob(req.GetDigest())
	for part := range slices.Chunk(data, messageSize) {
		if err == nil {
			err = stream.Send(&protos.BlobChunk{Data: part})
		}
	}
	return err
}

func (b *blobServer) Put(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) error {
	var data []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		data = append(data, m.GetData()...)
	}
	d := store.Sum(data)
	b.s.mu.Lock()
	b.s.blobs[d] = data
	for chunk := range slices.Chunk(data, chunkSize) {
		b.s.blobs[store.Sum(chunk)] = chunk
	}
	b.s.mu.Unlock()
	return stream.SendAndClose(&protos.PutBlobResponse{Digest: d[:]})
}

type directoryServer struct {
	protos.UnimplementedDirectoryServiceServer
	s *Server
}

func (ds *directoryServer) Get(req *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	root, err := digestOf(req.GetDigest())
	if err != nil {
		return err
	}
	ds.s.mu.Lock()
	ds.s.gets++
	list := ds.s.closures[root]
	var messages [][]byte
	for _, d := range list {
		messages = append(messages, ds.s.messages[d])
	}
	ds.s.mu.Unlock()
	switch {
	case req.GetRecursive():
	case len(messages) == 0:
		if ds.s.Package == Snix { // tvix sends trailers alone
			stream.SendHeader(metadata.MD{})
		}
		return status.Errorf(codes.NotFound, "directory %s not found", root.Snix())
	default:
		messages = messages[:1]
	}
	for _, m := range messages {
		raw := new(protos.Directory)
		raw.ProtoReflect().SetUnknown(m)
		if err := stream.Send(raw); err != nil {
			return err
		}
	}
	return nil
}

// Put takes a closure, children first.
func (ds *directoryServer) Put(stream grpc.ClientStreamingServer[protos.Directory, protos.PutDirectoryResponse]) error {
	sent := map[store.Digest]store.Directory{}
	var root store.Digest
	for {
		var m emptypb.Empty
		err := stream.RecvMsg(&m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		message := []byte(m.ProtoReflect().GetUnknown())
		dir, err := store.DecodeDirectory(message)
		if err == nil {
			err = check(dir, sent)
		}
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		root = store.Sum(message)
		sent[root] = dir
		ds.s.mu.Lock()
		ds.s.messages[root] = message
		ds.s.mu.Unlock()
	}
	if len(sent) == 0 {
		return status.Error(codes.Internal, "no directories received")
	}
	ds.s.mu.Lock()
	ds.s.closures[root] = ds.s.order(root, sent)
	ds.s.mu.Unlock()
	return stream.SendAndClose(&protos.PutDirectoryResponse{RootDigest: root[:]})
}

// check reports what the validators of tvix and snix would: they count each entry twice.
func check(dir store.Directory, sent map[store.Digest]store.Directory) error {
	for _, n := range dir {
		if n.Kind != store.KindDirectory {
			continue
		}
		child, ok := sent[n.Digest]
		if !ok {
			return fmt.Errorf("unknown directory %s", n.Digest.Snix())
		}
		if want, err := child.Size(store.SizeSnix); err != nil || n.Size != want {
			return fmt.Errorf("wrong size %d for digest %s", n.Size, n.Digest.Snix())
		}
	}
	return nil
}

// order returns the directories of a closure breadth first.
func (s *Server) order(root store.Digest, sent map[store.Digest]store.Directory) []store.Digest {
	list := []store.Digest{root}
	for i := 0; i < len(list); i++ {
		dir := slices.Clone(sent[list[i]])
		if s.Backward {
			slices.Reverse(dir)
		}
		for _, n := range dir {
			if n.Kind == store.KindDirectory && !slices.Contains(list, n.Digest) {
				list = append(list, n.Digest)
			}
		}
	}
	return list
}
