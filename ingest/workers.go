package ingest

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
)

// order is the workers of a walk, in the order of their work in the tree. If the store has lanes, only the first worker
// gives work away, unless a processor would be idle. So all workers are near each other in the tree, and the contents of
// one frame of the store are needed together later: an export of a Linux tree decodes a tenth fewer frames.
type order struct {
	mu      sync.Mutex
	workers list.List // of *worker
	waiting question  // that the first worker was seen to wait for
}

// question is one that a worker has asked the file system.
type question struct {
	worker *worker
	number int64
	seen   time.Time
}

// waitsLong is how long the first worker may wait for the file system before others give away work too. Answers from
// memory take less.
const waitsLong = time.Millisecond

// mayFork reports whether w may give away work.
func (w *worker) mayFork() bool {
	free := len(w.slots)
	return free > 0 && (!w.lanes || cap(w.slots)-free < w.processors || w.leads())
}

// leads reports whether w is the first worker, or the first worker waits for the file system.
func (w *worker) leads() bool {
	w.order.mu.Lock()
	defer w.order.mu.Unlock()
	first := w.order.workers.Front().Value.(*worker)
	if first == w {
		return true
	}
	asked, waiting := first.asked.Load(), &w.order.waiting
	if asked == 0 {
		return false
	}
	if waiting.worker != first || waiting.number != asked {
		*waiting = question{first, asked, time.Now()}
	}
	return time.Since(waiting.seen) > waitsLong
}

// asks notes that w begins to wait for the file system. It costs less than to look at the clock.
func (w *worker) asks() {
	w.questions++
	w.asked.Store(w.questions)
}

// answered notes that w no longer waits for the file system.
func (w *worker) answered() { w.asked.Store(0) }

// newWorker returns a worker with the slot blobs. Its work comes before the remaining work of next in the tree, or is the whole
// tree if next is nil. The worker must leave when its work is done.
func (w *walker) newWorker(blobs store.Blobs, next *worker) *worker {
	added := &worker{walker: w, blobs: blobs}
	w.order.mu.Lock()
	defer w.order.mu.Unlock()
	if next == nil {
		added.at = w.order.workers.PushBack(added)
	} else {
		added.at = w.order.workers.InsertBefore(added, next.at)
	}
	return added
}

// leave frees the worker's slot and its position in the order.
func (w *worker) leave() {
	w.order.mu.Lock()
	w.order.workers.Remove(w.at)
	w.order.mu.Unlock()
	w.freeSlot()
}

// forks are the goroutines that work on one directory.
type forks struct {
	running sync.WaitGroup
	any     atomic.Bool
}

// fork runs f in a new goroutine if w may give away work and a slot is free, and otherwise in the caller's. It runs the
// last piece of work in the caller's too, because the caller would only wait for it. It returns the error of f if it ran f
// here. Elsewhere, an error of f must end the walk.
func (w *worker) fork(g *forks, last bool, f func(*worker) error) error {
	if !last && w.mayFork() {
		select {
		case blobs := <-w.slots:
			g.any.Store(true)
			other := w.newWorker(blobs, w)
			g.running.Go(func() {
				defer other.leave()
				_ = f(other) // it has ended the walk
			})
			return nil
		default:
		}
	}
	return f(w)
}

// join waits for the goroutines of g. It frees its slot while it waits. The error is the first one of the walk.
func (w *worker) join(g *forks) error {
	if !g.any.Load() {
		return nil
	}
	w.freeSlot()
	g.running.Wait()
	w.blobs = <-w.slots
	return context.Cause(w.ctx)
}
