package server

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// directoryServer implements DirectoryService over a store.
type directoryServer struct {
	protos.UnimplementedDirectoryServiceServer
	s *Server
}

// Get sends a directory, or each directory of a closure once, in the order of the store's Walk. A closure whose root is
// absent has no messages and is no error, as in tvix and snix.
func (ds *directoryServer) Get(req *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	if req.GetByWhat() == nil {
		return invalidf("invalid by_what: no digest")
	}
	d, err := requested(req.GetDigest())
	if err != nil {
		return err
	}
	if err := callOf(stream.Context()).take(makers, 1); err != nil {
		return err
	}
	if !req.GetRecursive() {
		dir, err := ds.s.st.Directories.Get(stream.Context(), d)
		if err != nil {
			return about("directory", d, err)
		}
		return sendDirectory(stream, dir)
	}
	sent := false
	for named, err := range ds.s.st.Directories.Walk(stream.Context(), d) {
		if err == nil {
			err = sendDirectory(stream, named.Directory)
		}
		if err == nil {
			err = callOf(stream.Context()).take(makers, 1)
		}
		if err != nil && (sent || !store.IsNotFound(err)) {
			return about("directory", named.Digest, err)
		}
		sent = true
	}
	return nil
}

func sendDirectory(stream grpc.ServerStream, dir store.Directory) error {
	b, err := store.EncodeDirectory(dir)
	if err != nil {
		return err
	}
	return stream.SendMsg(wire.RawDirectory(b))
}

// Put stores a closure, and answers when it is durable. Directories that the client calls partial need be neither.
func (ds *directoryServer) Put(stream grpc.ClientStreamingServer[protos.Directory, protos.PutDirectoryResponse]) error {
	ctx := stream.Context()
	if err := ds.s.mayPut(ctx); err != nil {
		return err
	}
	partial := len(metadata.ValueFromIncomingContext(ctx, wire.PartialHeader)) > 0
	root, err := ds.put(ctx, stream, partial)
	if err == nil && !partial {
		err = ds.s.syncer.sync(ctx)
	}
	if err != nil {
		return err
	}
	if partial {
		ds.s.syncLater()
	}
	return stream.SendAndClose(&protos.PutDirectoryResponse{RootDigest: root[:]})
}

func (ds *directoryServer) put(ctx context.Context, stream grpc.ServerStream, partial bool) (root store.Digest, err error) {
	w := store.UploadByPut(ds.s.st.Directories)
	if !partial {
		if w, err = ds.s.st.Directories.Upload(ctx); err != nil {
			return root, err
		}
	}
	defer w.Close()
	order := newClosure(partial)
	for {
		b, err := wire.RecvDirectory(stream)
		if err == io.EOF {
			break
		}
		if err != nil {
			return root, err
		}
		dir, err := store.DecodeDirectory(b)
		if err != nil {
			return root, invalidf("%v", err)
		}
		if err := order.add(store.Sum(b), dir); err != nil {
			return root, invalidf("%v", err)
		}
		if _, err := w.Put(ctx, dir); err != nil {
			return root, err
		}
	}
	if root, err = order.root(); err != nil {
		return root, err
	}
	return root, w.Commit(ctx, root)
}
