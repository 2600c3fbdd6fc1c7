package packed_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed"
	"castar/store/storetest"
)

var modelSeed = flag.Uint64("bucket.seed", 1, "the first seed of random runs")

// runs is how much of a matrix is tried: all of it in the full run, a part otherwise.
func runs(few, many int) int {
	if testing.Short() || storetest.UnderRace {
		return few
	}
	return many
}

const day = 24 * time.Hour

// quickTemp keeps packs on their way in memory, where there is a file system for that: a file for each pack of thousands of
// runs is a quarter of their time.
func quickTemp(t *testing.T) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

// Whatever the order of the operations of two writers, two gcs, a repair and a reader, with crashes, lost answers and
// services that are overloaded at any step, what was recorded stays, and garbage goes.
func TestBucketModelRandom(t *testing.T) {
	quickTemp(t)
	for i := range uint64(runs(3, 150)) {
		seed := *modelSeed + i
		l := luck{rnd: rand.New(rand.NewPCG(seed, 0)), faults: seed%3 > 0, time: seed%4 == 3}
		sc := scenario{grace: day, timely: !l.time && !l.faults}
		wrong, trace := interleave(t, sc, bucket.NewMemory(), l.choose)
		tell(t, fmt.Sprintf("seed %d", seed), wrong, trace)
		if t.Failed() {
			return
		}
	}
}

// The same, when a process goes on as long as it can, except at one step, where another one takes over; and when it sleeps
// there for two days, so that a gc may give up what it has stored and not recorded. The full run tries every step with a
// pause, and every third without one. Until that step a run is the one without a switch, which is checked once.
func TestBucketModelPreempted(t *testing.T) {
	quickTemp(t)
	for pause, every := range map[time.Duration]int{0: runs(200, 3), 2 * day: runs(70, 1)} {
		tried := 0
		try := func(from int, switches map[int]int) (steps int) {
			tried++
			sc := scenario{grace: day, timely: pause == 0, slow: pause > 0, from: from}
			wrong, trace := interleave(t, sc, bucket.NewMemory(), preempting(switches, pause))
			tell(t, fmt.Sprint(switches, pause), wrong, trace)
			return len(trace)
		}
		for n, steps := 0, try(0, nil); n < steps && !t.Failed(); n += every {
			for by := 1; by < 5 && !t.Failed(); by += runs(4, 1) {
				try(n, map[int]int{n: by})
			}
		}
		t.Logf("%d runs with pauses of %v", tried, pause)
	}
}

// A writer and a gc, each of which goes on as long as it can, take turns at every two steps. So the bound is two switches
// for two processes, and one for five of them, as above; beyond it, the order is random. The full run tries all pairs.
func TestBucketModelPreemptedTwice(t *testing.T) {
	quickTemp(t)
	try := func(from int, switches map[int]int) (steps int) {
		sc := scenario{grace: day, timely: true, small: true, from: from}
		wrong, trace := interleave(t, sc, bucket.NewMemory(), preempting(switches, 0))
		tell(t, fmt.Sprint(switches), wrong, trace)
		return len(trace)
	}
	steps, every, tried := try(0, nil), runs(211, 1), 0
	last := steps + 9 // a switch may make it longer
	for n := range steps {
		for m := n + 1; m <= last && !t.Failed(); m++ {
			from := n
			if every == 1 && m < last {
				from = m // until then it is the run with the last m, which is checked from n on
			}
			if (n*steps+m)%every == 0 && try(from, map[int]int{n: 1, m: 1}) > m {
				tried++
			}
		}
	}
	t.Logf("%d pairs of %d steps", tried, steps)
}

// blind is a bucket that ignores conditions.
type blind struct{ bucket.Bucket }

func (b blind) PutIf(ctx context.Context, name string, data []byte, _ bucket.Version) (bucket.Version, error) {
	if err := b.Put(ctx, name, data); err != nil {
		return "", err
	}
	_, v, err := b.Load(ctx, name)
	return v, err
}

// A store is not made in a bucket that ignores conditions. The model shows why: with single_writer, writers lose what they
// have stored.
func TestBucketModelBlind(t *testing.T) {
	b := blind{bucket.NewMemory()}
	_, err := packed.OpenBucket(t.Context(), b, create())
	if !errors.Is(err, store.ErrUnsupported) || !strings.Contains(err.Error(), "conditional") {
		t.Errorf("made a store: %v", err)
	}
	if all := names(t, b, ""); len(all) > 0 {
		t.Errorf("left %q", all)
	}
	for seed := range uint64(20) {
		l := luck{rnd: rand.New(rand.NewPCG(seed, 1))}
		sc := scenario{grace: day, timely: true, options: packed.BucketOptions{SingleWriter: true}}
		if wrong, _ := interleave(t, sc, blind{bucket.NewMemory()}, l.choose); len(wrong) > 0 {
			return
		}
	}
	t.Error("the model does not find what conditions are for")
}
