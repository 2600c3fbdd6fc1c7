package rpc

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
)

// errRestarted says that the server may have forgotten what it acknowledged.
var errRestarted = errors.New("the server was restarted before it had made durable what was stored: store it again")

// ledger knows what the server has acknowledged, and how much of that is durable.
type ledger struct {
	mu              sync.Mutex
	met             bool   // there was an answer
	instance        string // of the server, where it says
	stored, durable uint64 // answers to Put
	claimed         bool   // the server said that it had something, durable or not
	lost            bool   // the instance changed while not all was durable
}

// put takes note of an answer to Put.
func (l *ledger) put(instance string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.meet(instance); err != nil {
		return err
	}
	l.stored++
	return nil
}

// claim takes note of an answer that something is there, on which a closure may be built.
func (l *ledger) claim(instance string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.meet(instance); err != nil {
		return err
	}
	l.claimed = true
	return nil
}

// meet compares the instance with that of earlier answers.
func (l *ledger) meet(instance string) error {
	if l.met && l.instance != instance && (l.claimed || l.stored > l.durable) {
		l.lost = true
	}
	l.met, l.instance = true, instance
	if l.lost {
		return errRestarted
	}
	return nil
}

// mark returns what a directory upload that is ended now makes durable, and whether there is any need.
func (l *ledger) mark() (stored uint64, needed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		err = errRestarted
	}
	return l.stored, l.stored > l.durable, err
}

// synced takes note of an answer to a directory upload, which was ended after mark.
func (l *ledger) synced(instance string, mark uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.meet(instance); err != nil {
		return err
	}
	l.durable = max(l.durable, mark)
	return nil
}

// barrier implements store.Barrier.
type barrier struct{ c *client }

// Sync puts the empty directory, whose answer means that all before it is durable, unless an upload has done that.
func (b barrier) Sync(ctx context.Context) error {
	if err := b.c.flight.allLanded(ctx); err != nil {
		return err
	}
	_, needed, err := b.c.ledger.mark()
	if err != nil || !needed {
		return err
	}
	empty := store.Sum(nil)
	s, err := b.c.directories.get(ctx)
	if err != nil {
		return err
	}
	return fromStatus(b.c.retry(ctx, func(k *call) error {
		mark, _, _ := b.c.ledger.mark()
		stream, err := s.Put(k.ctx)
		if err == nil {
			err = stream.Send(new(protos.Directory))
		}
		return endUpload(stream, err, empty, func(instance string) error { return b.c.ledger.synced(instance, mark) })
	}), empty)
}

// Close closes the connection. What is on its way to the server is given up.
func (b barrier) Close() error {
	b.c.flight.close()
	return errors.Join(b.c.conn.Close(), b.c.closures.close())
}

// uploadStream is a call of DirectoryService.Put.
type uploadStream = grpc.ClientStreamingClient[protos.Directory, protos.PutDirectoryResponse]

// endUpload ends an upload, of which err is the last error of opening or sending, and checks the answer. acked is told
// the server's instance.
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

// sendError returns why sending failed. Of a stream that the server has ended, sending only knows that.
func sendError(stream grpc.ClientStream, err error) error {
	if err == io.EOF {
		err = stream.RecvMsg(new(protos.PutDirectoryResponse))
		if err == nil {
			err = errEarly
		}
	}
	return err
}
