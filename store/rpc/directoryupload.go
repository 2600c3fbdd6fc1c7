package rpc

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

func (ds directories) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	return &upload{c: ds.c, ctx: ctx}, nil
}

// upload implements store.DirectoryWriter with one call, which begins with the first directory.
type upload struct {
	c   *client
	ctx context.Context

	long   longDirectories
	mu     sync.Mutex
	call   *call
	stream uploadStream
	err    error // that ended it
}

var (
	errUploadEnded = errors.New("the batch has ended")
	errNothing     = errors.New("commit of a batch without directories")
)

func (u *upload) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := ctx.Err(); err != nil {
		return store.Digest{}, err
	}
	message, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(message)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.long.note(d, dir, message)
		u.err = fromStatus(u.long.explain(u.send(message)), d)
	}
	return d, u.err
}

func (u *upload) send(message []byte) error {
	if u.call == nil {
		var err error
		u.call = u.c.begin(u.ctx)
		if u.stream, err = u.c.directories.Put(u.call.ctx); err != nil {
			return u.call.why(err)
		}
	}
	err := u.call.wait(func() error { return u.stream.Send(wire.RawDirectory(message)) })
	return u.call.why(sendError(u.stream, err))
}

// Commit returns when the server has made durable what was stored.
func (u *upload) Commit(ctx context.Context, root store.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.err != nil:
		return u.err
	case u.call == nil:
		return errNothing
	}
	defer context.AfterFunc(ctx, func() { u.call.cancel(ctx.Err()) })()
	err := u.c.outbox.awaitAll(ctx)
	var mark uint64
	if err == nil {
		mark, _, err = u.c.ledger.mark()
	}
	if err == nil {
		err = u.call.wait(func() error {
			return endUpload(u.stream, nil, root, func(instance string) error { return u.c.ledger.synced(instance, mark) })
		})
	}
	u.err = errUploadEnded
	return fromStatus(u.long.explain(err), root)
}

func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.call != nil {
		u.call.end()
	}
	if u.err == nil {
		u.err = errUploadEnded
	}
	return nil
}

// uploadStream is a call of DirectoryService.Put.
type uploadStream = grpc.ClientStreamingClient[protos.Directory, protos.PutDirectoryResponse]

// endUpload ends an upload, and checks the answer. err is the last error of opening or sending. acked gets the server's
// instance.
func endUpload(stream uploadStream, err error, root store.Digest, acked func(instance string) error) error {
	if err = sendError(stream, err); err != nil {
		return err
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if err := sameDigest(resp.GetRootDigest(), root); err != nil {
		return err
	}
	headers, err := stream.Header()
	if err != nil {
		return err
	}
	return acked(instanceOf(headers))
}
