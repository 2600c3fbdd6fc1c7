package ingest

import (
	"context"
	"testing"
	"time"

	"castar/store/memory"
)

// TestOrder checks which worker may give away work: the first in the order of the tree, and others only if a processor
// would be idle or the first waits for the file system.
func TestOrder(t *testing.T) {
	w, err := newWalker(context.Background(), memory.New(), Options{Jobs: 4, Progress: new(Progress)})
	try(t, err)
	defer w.close()
	w.processors, w.lanes = 2, true
	check := func(when string, who *worker, want bool) {
		t.Helper()
		if got := who.mayFork(); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	last := w.firstWorker()
	check("alone", last, true)
	first := w.newWorker(<-w.slots, last)
	check("the first of two", first, true)
	check("the second of two", last, false)
	middle := w.newWorker(<-w.slots, last)
	inner := w.newWorker(<-w.slots, middle)
	check("the first, without a slot to give", first, false)
	inner.leave()
	check("in the middle", middle, false)

	first.asks()
	check("when the first has just asked", last, false)
	w.order.waiting.seen = w.order.waiting.seen.Add(-time.Hour)
	check("while the first waits for the file system", last, true)
	first.asks()
	check("when it has asked again", last, false)
	w.order.waiting.seen = w.order.waiting.seen.Add(-time.Hour)
	first.answered()
	check("while the first stores something", last, false)
	w.lanes = false
	check("where the store has no lanes", last, true)
	w.lanes = true

	first.leave()
	check("the first when the one before it is done", middle, true)
	check("the last", last, false)
	middle.leave()
	check("alone again", last, true)
}

// TestNobodyStays checks that all workers have left the order at the end of a walk, even of one that failed.
func TestNobodyStays(t *testing.T) {
	wide := tree{}
	for _, name := range []string{"a", "b", "c", "d"} {
		wide[name] = tree{"e": tree{"f": "1", "g": "2"}, "h": tree{}, "i": "3"}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, ctx := range map[string]context.Context{"complete": context.Background(), "cancelled": ctx} {
		w, err := newWalker(ctx, memory.New(), Options{Jobs: 4, Progress: new(Progress)})
		try(t, err)
		if _, err := w.firstWorker().root(planted(t, wide)); (err != nil) != (name == "cancelled") {
			t.Errorf("%s: %v", name, err)
		}
		if n := w.order.workers.Len(); n != 0 || len(w.slots) != 4 {
			t.Errorf("%s: %d workers are left, %d slots are free; want 0 and 4", name, n, len(w.slots))
		}
		w.close()
	}
}
