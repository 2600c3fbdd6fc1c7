package server

import (
	"context"
	"fmt"
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
		dir, err := storeOf(stream.Context()).Directories.Get(stream.Context(), d)
		if err != nil {
			return about("directory", d, err)
		}
		return sendDirectory(stream, dir)
	}
	sent := false
	for named, err := range storeOf(stream.Context()).Directories.Walk(stream.Context(), d) {
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
		err = callOf(ctx).at.syncer.sync(ctx)
	}
	if err != nil {
		return err
	}
	if partial {
		callOf(ctx).at.syncer.later()
	}
	return stream.SendAndClose(&protos.PutDirectoryResponse{RootDigest: root[:]})
}

func (ds *directoryServer) put(ctx context.Context, stream grpc.ServerStream, partial bool) (root store.Digest, err error) {
	w := store.UploadByPut(storeOf(ctx).Directories)
	if !partial {
		if w, err = storeOf(ctx).Directories.Upload(ctx); err != nil {
			return root, err
		}
	}
	defer w.Close()
	order := closure{partial: partial, sizes: map[store.Digest]sizes{}, roots: map[store.Digest]struct{}{}}
	for n := 0; ; n++ {
		if !partial && n%rememberedAtOnce == 0 {
			callOf(ctx).give(received) // the last directory is stored
			if err := callOf(ctx).take(remembered, rememberedAtOnce*rememberedCost); err != nil {
				return root, err
			}
		}
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

const (
	// rememberedCost is about what a closure remembers of a directory, in bytes.
	rememberedCost = 128
	// rememberedAtOnce is for how many directories memory is taken at once.
	rememberedAtOnce = 512
)

// closure checks the directories of one upload as they come, children first. It keeps the size that the parents of each
// must have for it, under each rule of counting. A closure follows one rule, so it also keeps the rules broken so far.
type closure struct {
	partial bool // children may be missing
	sizes   map[store.Digest]sizes
	roots   map[store.Digest]struct{} // directories that no other refers to, so far
	last    store.Digest
	wrong   [len(sizes{})]bool // rules that some size has broken
}

// sizes has the size of a directory under each rule.
type sizes [store.SizeSnix + 1]uint64

// add checks the next directory.
func (c *closure) add(d store.Digest, dir store.Directory) error {
	c.last = d
	if c.partial {
		return nil
	}
	if _, again := c.sizes[d]; again {
		return nil
	}
	for i := range dir {
		if dir[i].Kind != store.KindDirectory {
			continue
		}
		if err := c.child(&dir[i]); err != nil {
			return fmt.Errorf("directory %s: %w", d, err)
		}
	}
	var own sizes
	for rule := range own {
		size, err := dir.Size(store.SizeRule(rule))
		if err != nil {
			c.wrong[rule] = true
		}
		own[rule] = size
	}
	c.sizes[d] = own
	c.roots[d] = struct{}{}
	return nil
}

// child checks a reference to a directory.
func (c *closure) child(n *store.Node) error {
	size, ok := c.sizes[n.Digest]
	if !ok {
		return fmt.Errorf("%q: directory %s was not sent before", n.Name, n.Digest)
	}
	right := false
	for rule := range size {
		c.wrong[rule] = c.wrong[rule] || size[rule] != n.Size
		right = right || !c.wrong[rule]
	}
	if !right {
		return fmt.Errorf("%q: wrong size %d, want %d, or %d throughout", n.Name, n.Size, size[0], size[1])
	}
	delete(c.roots, n.Digest)
	return nil
}

// root returns the root of what was sent.
func (c *closure) root() (store.Digest, error) {
	if c.last == (store.Digest{}) {
		return c.last, invalidf("no directories received")
	}
	if c.partial {
		return c.last, nil
	}
	if len(c.roots) != 1 {
		return c.last, invalidf("%d directories that no other refers to, want 1", len(c.roots))
	}
	for d := range c.roots {
		c.last = d
	}
	return c.last, nil
}
