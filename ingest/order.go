package ingest

import (
	"container/list"
	"sync"
	"time"

	"castar/store"
)

// order is the workers of a walk, as what they do stands in the tree. Where the store has lanes, only the first worker
// gives work away, unless a processor would be idle. So all of them are near each other in the tree, and what the store
// puts into one frame is read together again: an export of a Linux tree decodes a tenth fewer frames.
type order struct {
	mu      sync.Mutex
	workers list.List // of *worker
}

// waitsLong is how long the first may wait for the file system before others give work away in its stead: longer than
// anything takes that is in memory.
const waitsLong = time.Millisecond

// mayFork reports whether w may give away work.
func (w *worker) mayFork() bool {
	free := len(w.slots)
	return free > 0 && (!w.lanes || cap(w.slots)-free < w.processors || w.leads())
}

// leads reports whether w is the first, or the first one waits for the file system.
func (w *worker) leads() bool {
	w.order.mu.Lock()
	defer w.order.mu.Unlock()
	first := w.order.workers.Front().Value.(*worker)
	if first == w {
		return true
	}
	asked := first.asked.Load()
	return asked != 0 && w.age()-asked > int64(waitsLong)
}

// age is how long the walk has lasted, in nanoseconds.
func (w *walker) age() int64 { return int64(time.Since(w.began)) }

// asks says that w now asks the file system for something.
func (w *worker) asks() { w.asked.Store(w.age()) }

// stores says that w now has what it asked for, and stores it.
func (w *worker) stores() { w.asked.Store(0) }

// hire returns a worker with the slot blobs, for what comes before what next goes on with, or for all if next is nil. The
// worker leaves when that is done.
func (w *walker) hire(blobs store.Blobs, next *worker) *worker {
	hired := &worker{walker: w, blobs: blobs}
	w.order.mu.Lock()
	defer w.order.mu.Unlock()
	if next == nil {
		hired.at = w.order.workers.PushBack(hired)
	} else {
		hired.at = w.order.workers.InsertBefore(hired, next.at)
	}
	return hired
}

// leave gives back the worker's slot, and its place in the order.
func (w *worker) leave() {
	w.order.mu.Lock()
	w.order.workers.Remove(w.at)
	w.order.mu.Unlock()
	w.rest()
}
