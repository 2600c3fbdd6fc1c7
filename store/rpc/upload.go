package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// Upload returns a writer that makes one call.
func (ds directories) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	u := &upload{c: ds.c, sent: messages{spool: spool{most: mostMessages}}}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u, nil
}

// upload implements store.DirectoryWriter with one call, which begins with the first directory. If the call breaks because
// the server is restarted, another one sends all directories again.
type upload struct {
	c      *client
	ctx    context.Context
	cancel context.CancelCauseFunc

	long   longDirectories
	mu     sync.Mutex
	call   *call
	stream uploadStream
	sent   messages
	err    error // that ended it
}

// uploadStream is a call of DirectoryService.Put.
type uploadStream = grpc.ClientStreamingClient[protos.Directory, protos.PutDirectoryResponse]

var (
	errUploadEnded = errors.New("batch has ended")
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
		u.sent.put(message)
		err = u.resending(u.send(message), func() error { return nil })
		u.err = fromStatus(u.long.explain(err), d)
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

// resending returns err unless it says that the server is unavailable. Then it sends everything again, and calls next.
func (u *upload) resending(err error, next func() error) error {
	if !isUnavailable(err) || u.sent.err != nil {
		return err
	}
	return u.c.retryUnavailable(u.ctx, func() error {
		u.call.end()
		u.call = nil
		if err := u.sent.each(u.send); err != nil {
			return err
		}
		return next()
	})
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
	defer context.AfterFunc(ctx, func() { u.cancel(ctx.Err()) })()
	err := u.c.outbox.awaitAll(ctx)
	var mark uint64
	if err == nil {
		mark, _, err = u.c.ledger.mark()
	}
	again := false
	finish := func() error {
		return u.call.finish(u.stream, nil, new(protos.PutDirectoryResponse), root, func(instance string) (err error) {
			again, err = u.c.ledger.synced(instance, mark)
			return err
		})
	}
	if err == nil {
		err = u.resending(finish(), finish)
	}
	u.err = errUploadEnded
	if err == nil && again {
		return barrier{u.c}.Sync(ctx)
	}
	return fromStatus(u.long.explain(err), root)
}

func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cancel(nil)
	if u.call != nil {
		u.call.end()
	}
	u.sent.drop()
	if u.err == nil {
		u.err = errUploadEnded
	}
	return nil
}

// mostMessages is how many bytes of messages are kept in memory.
const mostMessages = 1 << 20

// messages keeps messages, each behind its length.
type messages struct {
	spool
	err error // why they are not all here, or nil
}

func (m *messages) put(message []byte) {
	if m.err == nil {
		m.err = m.add(binary.AppendUvarint(nil, uint64(len(message))))
	}
	if m.err == nil {
		m.err = m.add(message)
	}
}

// each calls f for each message, in order.
func (m *messages) each(f func([]byte) error) error {
	for r := bufio.NewReader(m.reader()); ; {
		n, err := binary.ReadUvarint(r)
		if err == io.EOF {
			return nil
		}
		message := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(r, message)
		}
		if err == nil {
			err = f(message)
		}
		if err != nil {
			return err
		}
	}
}
