package server

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	// grace is how long a client may leave what it holds unused while others wait for it.
	grace = 500 * time.Millisecond
	// leastRate is how many bytes a client must send or read in a second. A slower one counts as silent now and then.
	leastRate = 512 << 10
	// glance is how often a server looks for silent clients while somebody waits.
	glance = 50 * time.Millisecond
	// uploadPatience is how many times longer than other calls an upload of directories may be silent between two of
	// them, because the blobs of a directory come before it.
	uploadPatience = 10
	// uploadGrace is how long all calls of a client that uploads directories may rest while others wait to do so.
	uploadGrace = 10 * time.Second
)

// look makes sure that relieve is called within d. The caller holds l.mu.
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

// relieve ends calls and connections of clients that are silent for too long, or that hold what others wait for.
func (l *limits) relieve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endIdle(time.Now())
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
		limit := l.idle
		if c.between {
			limit *= uploadPatience
		}
		if !c.since.IsZero() && c.quiet(now) > limit {
			c.end(codes.DeadlineExceeded, "the client was silent for too long")
		}
	}
	for a := range l.accounts {
		if a.held[sending] > 0 && now.Sub(a.moved) > l.idle {
			a.close()
		}
	}
}

// stop ends uploads that their clients will send again. Others may take as long as the server waits for running calls.
func (l *limits) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	for c := range l.calls {
		l.endResent(c)
	}
}

// endResent ends an upload that waits for its client, if the server stops and the client sends it again. The caller holds
// l.mu.
func (l *limits) endResent(c *call) {
	if l.stopping && c.between && c.resends {
		c.end(codes.Unavailable, "the server stops")
	}
}

// makeWay ends calls of silent clients until enough of a resource is free for those that wait. The caller holds l.mu.
func (l *limits) makeWay(r resource) {
	if len(l.waiting[r]) == 0 {
		return
	}
	need := l.used[r] - l.lent[r] - (l.most[r] - l.reserve[r])
	for _, w := range l.waiting[r] {
		need += w.n
	}
	if r == sending {
		l.closeSilent(need)
		return
	}
	var silent []*call
	left := map[*account]int64{} // what each client would still hold
	for c := range l.calls {
		if c.held[r] == 0 {
			continue
		}
		left[c.a] = c.a.held[r]
		if c.ended != nil {
			need -= c.held[r] // which is free before long
		} else if c.lags() > grace {
			silent = append(silent, c)
		}
	}
	for need > 0 && len(silent) > 0 {
		c := slices.MaxFunc(silent, func(x, y *call) int {
			return cmp.Or(cmp.Compare(left[x.a], left[y.a]), cmp.Compare(x.lags(), y.lags()))
		})
		c.end(codes.Unavailable, "the client was silent while others waited")
		left[c.a] -= c.held[r]
		need -= c.held[r]
		silent = slices.DeleteFunc(silent, func(o *call) bool { return o == c })
	}
}

// closeSilent closes connections that their clients do not read, until need bytes are free. The caller holds l.mu.
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
