package rpc

import (
	"context"
	"errors"
	"sync"

	"castar/store"
)

// errRestarted says that the server may have forgotten what it acknowledged.
var errRestarted = errors.New("the server restarted before the data was durable: store it again")

// ledger records what the server has acknowledged, and how much of that is durable. When the instance changes before all is
// durable, it asks the new one whether it has what the old one acknowledged, so a server may be stopped and started again
// while a client stores.
type ledger struct {
	c        *client
	checking sync.Mutex // held while a new instance is asked

	mu              sync.Mutex
	met             bool   // the server has answered
	instance        string // of the server, or "" if it has none
	stored, durable uint64 // answers to Put
	claimed         bool   // the server said that it has something, durable or not
	lost            bool   // the instance changed, and what was acknowledged may be lost
	blobs           []store.Digest
	others          bool // something but these blobs was acknowledged
	changes         int  // of the instance, which was asked for all blobs each time
}

// mostNoted is how many blobs a ledger remembers. They take 32 MB. After more, a change of the instance is a loss.
const mostNoted = 1 << 20

// mostChanges is how often the instance of a server may change. Each time costs a question about each blob.
const mostChanges = 100

// put records an answer to Put. Without blobs it was about a directory.
func (l *ledger) put(instance string, ds ...store.Digest) error {
	_, err := l.meet(instance, ds, func() { l.stored++ })
	return err
}

// claim records an answer that the server has blobs. A closure may depend on it.
func (l *ledger) claim(instance string, ds ...store.Digest) error {
	_, err := l.meet(instance, ds, func() { l.claimed = true })
	return err
}

// synced records an answer to a directory upload that was ended after mark. If it reports again, the instance has
// changed since, and another upload is needed.
func (l *ledger) synced(instance string, mark uint64) (again bool, err error) {
	return l.meet(instance, []store.Digest{}, func() { l.durable = max(l.durable, mark) })
}

// meet compares the instance with that of earlier answers, and then records an answer about blobs; nil: about something else.
func (l *ledger) meet(instance string, ds []store.Digest, record func()) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.met && l.instance != instance && (l.claimed || l.stored > l.durable) {
		changed = true
	} else {
		l.met, l.instance = true, instance
	}
	if len(l.blobs)+len(ds) > mostNoted || ds == nil {
		l.others = true
	} else {
		l.blobs = append(l.blobs, ds...)
	}
	if changed && !l.lost {
		l.mu.Unlock()
		l.checkInstance(instance)
		l.mu.Lock()
	}
	if l.lost {
		return changed, l.restarted()
	}
	record()
	return changed, nil
}

func (l *ledger) restarted() error { return &store.ServerError{Server: l.c.name, Err: errRestarted} }

// checkInstance asks the server whether it has all that was acknowledged, if an answer is from another instance than the last one
// known. If not, all is lost.
func (l *ledger) checkInstance(instance string) {
	l.checking.Lock()
	defer l.checking.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	asked, now := -1, ""
	for l.instance != instance && !l.lost && asked < len(l.blobs) {
		ds := l.blobs[max(asked, 0):]
		l.lost = l.others || l.changes >= mostChanges
		l.mu.Unlock()
		as, has := "", false
		if !l.lost {
			as, has = l.c.hasAll(ds)
		}
		l.mu.Lock()
		l.lost = l.lost || !has || asked >= 0 && as != now
		asked, now = max(asked, 0)+len(ds), as
	}
	if asked >= 0 && !l.lost {
		l.instance = now
		l.changes++
		l.stored++ // what was asked for may not be durable
	}
}

// renew asks the server whether it has all that was acknowledged, because it said that its instance is another one.
func (l *ledger) renew() error {
	l.checkInstance("another")
	_, _, err := l.mark()
	return err
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
		err = l.restarted()
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
	empty := store.Sum(nil)
	for range mostChanges {
		mark, needed, err := b.c.ledger.mark()
		if err != nil || !needed {
			return err
		}
		again := false
		err = b.c.putDirectory(ctx, empty, nil, func(instance string) (err error) {
			again, err = b.c.ledger.synced(instance, mark)
			return err
		})
		if err != nil || !again {
			return fromStatus(err, empty)
		}
	}
	return b.c.ledger.restarted()
}

// Close closes the connection. Blobs that are not acknowledged are lost.
func (b barrier) Close() error {
	b.c.outbox.close()
	return errors.Join(b.c.conn.Close(), b.c.closures.kept.drop(), b.c.expected.kept.drop())
}
