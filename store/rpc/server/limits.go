package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// resource is something that a server has so much of and no more.
type resource int

// The resources, in the order in which a call takes them. Because all keep to it, no two calls wait for each other.
const (
	slots    resource = iota // calls that are served
	writers                  // bytes that the store takes for blobs that are being written
	received                 // bytes of messages that have come, or are coming, and of what is made of them
	decoded                  // bytes of blobs that came compressed
	makers                   // calls that make an answer, of a length that is not known before
	provers                  // calls that make a proof
	sending                  // bytes of answers that have not been sent
	resources
)

const (
	// grace is how long a client may leave what it holds unused while others wait for it.
	grace = 500 * time.Millisecond
	// leastRate is how many bytes a client must send or read in a second: a slower one is silent now and then.
	leastRate = 512 << 10
	// glance is how often a server looks who might give way, while somebody waits.
	glance = 50 * time.Millisecond
	// patience is how long a call waits for a resource that nobody gets.
	patience = 30 * time.Second
	// uploadPatience is how many times longer than other calls an upload of directories may be silent between two of
	// them, for the blobs of a directory come before it.
	uploadPatience = 10
)

// limits share out the resources of a server. Whoever holds the least comes first. While somebody waits, those clients
// have to give way who hold the most and neither send nor read. Its methods may be called concurrently.
type limits struct {
	most [resources]int64
	idle time.Duration // how long a client may be silent, even if nobody waits

	mu       sync.Mutex
	used     [resources]int64
	waiting  [resources][]*waiter
	granted  [resources]time.Duration // when somebody last got some after a wait, on clock
	accounts map[*account]struct{}
	calls    map[*served]struct{}
	streams  int           // that are open, whether served or not
	timer    *time.Timer   // calls relieve; nil where there is nothing to look at
	due      time.Time     // when it does
	clock    time.Duration // goes on while somebody waits, and slower where the machine is overloaded
}

// waiter is who waits for n of a resource.
type waiter struct {
	a       *account
	n       int64
	since   time.Duration // on limits.clock
	decided chan struct{} // closed when it has got it, or err
	err     error
}

func newLimits(o Options, local bool) *limits {
	l := &limits{idle: o.Idle, accounts: map[*account]struct{}{}, calls: map[*served]struct{}{}}
	l.most = [resources]int64{
		slots:    int64(o.MaxStreams),
		writers:  o.Memory / 4,
		received: o.Memory / 8 * 3,
		decoded:  o.Memory / 8,
		makers:   makersHere,
		provers:  2,
		sending:  o.Memory / 4,
	}
	if !local {
		l.most[makers] = atOnce
	}
	return l
}

// writerCost is what the store takes for one blob that is being written, in bytes.
const writerCost = 4 << 20

// makersHere is how many calls make an answer at once where the store is on this machine. Elsewhere they mostly wait.
const makersHere = 4

// take waits for n of a resource, or for all of it where there is less than that, and returns how much it took.
func (l *limits) take(ctx context.Context, r resource, a *account, n int64) (int64, error) {
	l.mu.Lock()
	n = min(n, l.most[r])
	if len(l.waiting[r]) == 0 && l.used[r]+n <= l.most[r] {
		l.hold(r, a, n)
		l.mu.Unlock()
		return n, nil
	}
	w := &waiter{a: a, n: n, since: l.clock, decided: make(chan struct{})}
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
		l.hold(r, a, -n)
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
	l.hold(r, a, -n)
	l.grant(r)
}

// hold notes that a has n more. Nothing is sent on a connection that is closed. The caller holds l.mu.
func (l *limits) hold(r resource, a *account, n int64) {
	if r == sending && a.closed {
		return
	}
	if r == sending && a.held[r] == 0 {
		a.moved, a.movedAt = time.Now(), l.clock
		l.look(l.idle / 8)
	}
	l.used[r] += n
	a.held[r] += n
}

// grant gives what there is to those who wait for it. The caller holds l.mu.
func (l *limits) grant(r resource) {
	for len(l.waiting[r]) > 0 {
		next := slices.MinFunc(l.waiting[r], func(x, y *waiter) int { return cmp.Compare(x.a.held[r], y.a.held[r]) })
		if l.used[r]+next.n > l.most[r] {
			return
		}
		l.hold(r, next.a, next.n)
		l.granted[r] = l.clock
		l.decide(r, next, nil)
	}
}

// decide ends a wait. The caller holds l.mu.
func (l *limits) decide(r resource, w *waiter, err error) {
	w.err = err
	close(w.decided)
	l.waiting[r] = slices.DeleteFunc(l.waiting[r], func(o *waiter) bool { return o == w })
}

// refuse ends the waits for a resource of which nobody got any for too long. The caller holds l.mu.
func (l *limits) refuse(r resource) {
	for _, w := range slices.Clone(l.waiting[r]) {
		if l.clock-max(w.since, l.granted[r]) > patience {
			l.decide(r, w, refusef(codes.ResourceExhausted, "the server has too much to do: try again later"))
		}
	}
}

// look sees to it that relieve is called within d. The caller holds l.mu.
func (l *limits) look(d time.Duration) {
	due := time.Now().Add(d)
	switch {
	case l.timer == nil:
		l.timer = time.AfterFunc(d, l.relieve)
	case due.Before(l.due):
		l.timer.Reset(d)
	default:
		return
	}
	l.due = due
}

// relieve ends calls and connections of silent clients: those that are silent for too long, and those that hold what others
// wait for.
func (l *limits) relieve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.endIdle(now)
	l.timer = nil
	if slices.ContainsFunc(l.waiting[:], func(w []*waiter) bool { return len(w) > 0 }) {
		l.clock += glance
		for r := range resources {
			l.makeWay(r)
			l.refuse(r)
		}
		l.look(glance)
	} else if len(l.calls) > 0 || l.used[sending] > 0 {
		l.look(l.idle / 8)
	}
}

// endIdle ends what was silent for too long. The caller holds l.mu.
func (l *limits) endIdle(now time.Time) {
	for c := range l.calls {
		since, limit := c.since, l.idle
		if c.between {
			since, limit = c.a.latest(since), uploadPatience*l.idle
		}
		if !c.since.IsZero() && now.Sub(since) > limit {
			c.end(codes.DeadlineExceeded, "the client was silent for too long")
		}
	}
	for a := range l.accounts {
		if a.held[sending] > 0 && now.Sub(a.moved) > l.idle {
			a.close()
		}
	}
}

// makeWay has clients that are silent give back as much of a resource as is waited for. The caller holds l.mu.
func (l *limits) makeWay(r resource) {
	if len(l.waiting[r]) == 0 {
		return
	}
	need := l.used[r] - l.most[r]
	for _, w := range l.waiting[r] {
		need += w.n
	}
	if r == sending {
		l.closeSilent(need)
		return
	}
	var silent []*served
	left := map[*account]int64{} // what they would hold
	for c := range l.calls {
		if c.held[r] == 0 {
			continue
		}
		left[c.a] = c.a.held[r]
		if c.ended != nil {
			need -= c.held[r] // before long
		} else if c.lags() > grace {
			silent = append(silent, c)
		}
	}
	for need > 0 && len(silent) > 0 {
		c := slices.MaxFunc(silent, func(x, y *served) int {
			return cmp.Or(cmp.Compare(left[x.a], left[y.a]), cmp.Compare(x.lags(), y.lags()))
		})
		c.end(codes.Unavailable, "others waited while the client was silent")
		left[c.a] -= c.held[r]
		need -= c.held[r]
		silent = slices.DeleteFunc(silent, func(o *served) bool { return o == c })
	}
}

// closeSilent closes connections on which nothing is read, until so much is free. The caller holds l.mu.
func (l *limits) closeSilent(need int64) {
	for need > 0 {
		var worst *account
		for a := range l.accounts {
			if l.clock-a.movedAt > grace && !a.closing && (worst == nil || a.held[sending] > worst.held[sending]) {
				worst = a
			}
		}
		if worst == nil || worst.held[sending] == 0 {
			return
		}
		need -= worst.held[sending]
		worst.close()
	}
}
