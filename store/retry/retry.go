// Package retry repeats calls to services that fail for a reason that may go away.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Policy says how often a call is made, and when.
type Policy struct {
	Tries   int           // calls, the first one included; 0: no bound
	First   time.Duration // the mean wait before the second call; each later one is twice as long
	Most    time.Duration // but no longer than this; 0: no bound
	Timeout time.Duration // of one call; 0: none
}

// Do makes a call until it succeeds, until its error is one that does not pass, or until it has been made p.Tries times,
// and returns its last error. passes may be nil if every error passes. A call that took longer than p.Timeout is made
// again whatever its error. Waits are random, from half to one and a half times the mean, so clients that failed together
// do not come back together. The end of ctx ends a wait, and its error is then that of Do.
func (p Policy) Do(ctx context.Context, passes func(error) bool, call func(context.Context) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.Multiplier = p.First, 2
	waits.MaxInterval = p.Most
	if p.Most == 0 {
		waits.MaxInterval = time.Hour
	}
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		once, cancel := ctx, func() {}
		if p.Timeout > 0 {
			once, cancel = context.WithTimeout(ctx, p.Timeout)
		}
		defer cancel()
		last = call(once)
		late := once.Err() != nil && ctx.Err() == nil
		if last == nil || late || passes == nil || passes(last) {
			return struct{}{}, last
		}
		return struct{}{}, backoff.Permanent(last)
	}, backoff.WithBackOff(waits), backoff.WithMaxTries(uint(p.Tries)), backoff.WithMaxElapsedTime(0))
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return last
}
