package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// resource is something that a server has a limited amount of.
type resource int

// The resources, in the order in which a call takes them. Every call keeps to it, so no two calls wait for each other. Only
// two uploads may, for remembered; then one is refused before long.
const (
	slots      resource = iota // calls that are served, without uploads of directories
	uploads                    // uploads of directories, which last as long as the uploads of all their blobs
	remembered                 // bytes of what is remembered of the directories of an upload
	writers                    // bytes that the store takes for blobs being written
	received                   // bytes of messages that have come or are coming, and of what is made of them
	decoded                    // bytes of blobs that came compressed
	makers                     // calls that make an answer whose length is unknown
	provers                    // calls that make a proof
	sending                    // bytes of answers that have not been sent
	resources
)

const (
	// writerCost is what the store takes for one blob being written, in bytes.
	writerCost = 4 << 20
	// localMakers is how many calls make an answer at once if the store has groups, as those on this machine have.
	localMakers = 5
	// remoteMakers is the same for other stores, for which calls mostly wait.
	remoteMakers = atOnce + atOnce/4
	// patience is how long a call waits for a resource that nobody gets.
	patience = 30 * time.Second
)

// limits share out the resources of a server.
//
//   - The client that holds the least comes first, and among those that hold the same, newcomers: see rank.
//   - A quarter of each resource is a reserve for clients that hold little and are prompt. They need not wait until
//     silent clients are cut off: see lends.
//   - While somebody waits, silent clients lose what they hold, those that hold the most first: see silence.go.
//
// Its methods may be called concurrently.
type limits struct {
	most    [resources]int64
	reserve [resources]int64 // of most
	idle    time.Duration    // how long a client may be silent, even if nobody waits

	mu       sync.Mutex
	used     [resources]int64
	lent     [resources]int64 // of used, from the reserve
	waiting  [resources][]*waiter
	granted  [resources]time.Duration // when somebody last got some after a wait, on clock
	accounts map[*account]struct{}
	stopping bool // the server takes no more calls
	calls    map[*call]struct{}
	streams  int           // open ones, whether served or not
	came     int           // waits of newcomers
	timer    *time.Timer   // calls relieve; nil if nothing needs it
	due      time.Time     // when it does
	clock    time.Duration // runs while somebody waits, and slower if the machine is overloaded
}

// waiter waits for n of a resource.
type waiter struct {
	a       *account
	n       int64
	rank    int           // the least comes first among clients that hold the same
	since   time.Duration // on limits.clock
	decided chan struct{} // closed when the waiter has its share, or err
	err     error
}

func newLimits(o Options, local bool) *limits {
	l := &limits{idle: o.Idle, accounts: map[*account]struct{}{}, calls: map[*call]struct{}{}}
	l.most = [resources]int64{
		slots:      int64(o.MaxStreams),
		uploads:    int64(o.MaxStreams),
		remembered: o.Memory / 2,
		writers:    o.Memory / 4,
		received:   o.Memory / 8 * 3,
		decoded:    o.Memory / 8,
		makers:     localMakers,
		provers:    2,
		sending:    o.Memory / 4,
	}
	if !local {
		l.most[makers] = remoteMakers
	}
	for r, n := range l.most {
		l.reserve[r] = n / 4
	}
	return l
}

// fits reports whether n of a resource are free, besides the reserve. The caller holds l.mu.
func (l *limits) fits(r resource, n int64) bool {
	return l.used[r]-l.lent[r]+n <= l.most[r]-l.reserve[r]
}

// lends reports whether the reserve has n of a resource for a. It is for prompt clients that then hold at most half of
// it. The caller holds l.mu.
func (l *limits) lends(r resource, a *account, n int64) bool {
	return a.prompt && a.held[r]+n <= max(l.reserve[r]/2, 1) && l.lent[r]+n <= l.reserve[r]
}

// take waits for n of a resource, or for all of it but the reserve if that is less, and returns how much it took.
func (l *limits) take(ctx context.Context, r resource, a *account, n int64) (int64, error) {
	l.mu.Lock()
	n = min(n, l.most[r]-l.reserve[r])
	free := len(l.waiting[r]) == 0 && l.fits(r, n)
	if free || l.lends(r, a, n) {
		l.hold(r, a, n, !free)
		l.mu.Unlock()
		return n, nil
	}
	w := &waiter{a: a, n: n, rank: l.rank(a), since: l.clock, decided: make(chan struct{})}
	l.waiting[r] = append(l.waiting[r], w)
	l.look(glance)
	l.mu.Unlock()
	select {
	case <-w.decided:
		return w.n, w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting[r], w); i >= 0 {
		l.waiting[r] = slices.Delete(l.waiting[r], i, i+1)
	} else if w.err == nil {
		l.release(r, a, n)
	}
	l.grant(r)
	return 0, fromTransport(ctx.Err())
}

// give returns n of a resource.
func (l *limits) give(r resource, a *account, n int64) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == sending {
		a.moved, a.movedAt = time.Now(), l.clock
	}
	l.release(r, a, n)
	l.grant(r)
}

// hold notes that a has n more. Nothing is sent on a connection that is closed. The caller holds l.mu.
func (l *limits) hold(r resource, a *account, n int64, lent bool) {
	if r == sending && a.closed {
		return
	}
	if r == sending && a.held[r] == 0 {
		a.moved, a.movedAt = time.Now(), l.clock
		l.look(l.idle / 8)
	}
	l.used[r] += n
	a.held[r] += n
	if lent {
		l.lent[r] += n
		a.lent[r] += n
	}
}

// release notes that a has n less. What was lent goes back first. The caller holds l.mu.
func (l *limits) release(r resource, a *account, n int64) {
	if r == sending && a.closed {
		return
	}
	l.used[r] -= n
	a.held[r] -= n
	back := min(n, a.lent[r])
	l.lent[r] -= back
	a.lent[r] -= back
}

// grant gives out what is free to those that wait for it. The caller holds l.mu.
func (l *limits) grant(r resource) {
	for {
		w, lent := l.next(r)
		if w == nil {
			return
		}
		l.hold(r, w.a, w.n, lent)
		l.granted[r] = l.clock
		l.decide(r, w, nil)
	}
}

// rank returns the rank of a new waiter. A newcomer comes before clients that were served, and the last newcomer first:
// it is the most likely to be at work, where older ones may be silent. The caller holds l.mu.
func (l *limits) rank(a *account) int {
	if a.known {
		return 0
	}
	l.came++
	return -l.came
}

// next returns the waiter that can have its share now, and whether it is lent, or nil. It is the one whose client holds
// the least. While that one must wait, nobody overtakes it except from the reserve. The caller holds l.mu.
func (l *limits) next(r resource) (first *waiter, lent bool) {
	if len(l.waiting[r]) == 0 {
		return nil, false
	}
	order := func(x, y *waiter) int {
		return cmp.Or(cmp.Compare(x.a.held[r], y.a.held[r]), cmp.Compare(x.rank, y.rank))
	}
	first = slices.MinFunc(l.waiting[r], order)
	if l.fits(r, first.n) {
		return first, false
	}
	first = nil
	for _, w := range l.waiting[r] {
		if l.lends(r, w.a, w.n) && (first == nil || order(w, first) < 0) {
			first = w
		}
	}
	return first, true
}

// decide ends a wait. The caller holds l.mu.
func (l *limits) decide(r resource, w *waiter, err error) {
	w.err = err
	close(w.decided)
	l.waiting[r] = slices.DeleteFunc(l.waiting[r], func(o *waiter) bool { return o == w })
}

// refuse ends the waits for a resource that nobody has got for too long. The caller holds l.mu.
func (l *limits) refuse(r resource) {
	for _, w := range slices.Clone(l.waiting[r]) {
		if l.clock-max(w.since, l.granted[r]) > patience {
			l.decide(r, w, refusef(codes.ResourceExhausted, "the server is overloaded: try again later"))
		}
	}
}
