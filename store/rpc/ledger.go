package rpc

import (
	"context"
	"errors"
	"sync"

	"castar/store"
)

// errRestarted says that the server may have forgotten what it acknowledged.
var errRestarted = errors.New("the server was restarted before it had made durable what was stored: store it again")

// ledger records what the server has acknowledged, and how much of that is durable.
type ledger struct {
	mu              sync.Mutex
	met             bool   // the server has answered
	instance        string // of the server, or "" if it has none
	stored, durable uint64 // answers to Put
	claimed         bool   // the server said that it has something, durable or not
	lost            bool   // the instance changed before everything was durable
}

// put records an answer to Put.
func (l *ledger) put(instance string) error { return l.meet(instance, func() { l.stored++ }) }

// claim records an answer that the server has something. A closure may depend on it.
func (l *ledger) claim(instance string) error { return l.meet(instance, func() { l.claimed = true }) }

// synced records an answer to a directory upload that was ended after mark.
func (l *ledger) synced(instance string, mark uint64) error {
	return l.meet(instance, func() { l.durable = max(l.durable, mark) })
}

// meet compares the instance with that of earlier answers, and then records an answer.
func (l *ledger) meet(instance string, record func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.met && l.instance != instance && (l.claimed || l.stored > l.durable) {
		l.lost = true
	}
	l.met, l.instance = true, instance
	if l.lost {
		return errRestarted
	}
	record()
	return nil
}

// known returns the instance that has acknowledged anything, or "".
func (l *ledger) known() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.instance
}

// mark returns what a directory upload ended now makes durable, and whether one is needed.
func (l *ledger) mark() (stored uint64, needed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		err = errRestarted
	}
	return l.stored, l.stored > l.durable, err
}

// barrier implements store.Barrier.
type barrier struct{ c *client }

// Sync puts the empty directory unless everything is durable. The answer means that everything before it is.
func (b barrier) Sync(ctx context.Context) error {
	if err := b.c.outbox.awaitAll(ctx); err != nil {
		return err
	}
	mark, needed, err := b.c.ledger.mark()
	if err != nil || !needed {
		return err
	}
	empty := store.Sum(nil)
	return fromStatus(b.c.putDirectory(ctx, empty, nil, func(instance string) error {
		return b.c.ledger.synced(instance, mark)
	}), empty)
}

// Close closes the connection. Blobs that are not acknowledged are lost.
func (b barrier) Close() error {
	b.c.outbox.close()
	return errors.Join(b.c.conn.Close(), b.c.closures.close(), b.c.expected.close())
}
