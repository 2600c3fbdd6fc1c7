package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errPassing, errFinal = errors.New("passing"), errors.New("final")

func passes(err error) bool { return errors.Is(err, errPassing) }

func TestDo(t *testing.T) {
	for _, tt := range []struct {
		name   string
		errs   []error // of the calls, in order; nil after those
		policy Policy
		want   error
		calls  int
		waited [2]time.Duration // at least, at most
	}{
		{"at once", nil, Policy{Tries: 3, First: time.Second}, nil, 1, [2]time.Duration{}},
		{"at last", []error{errPassing, errPassing}, Policy{Tries: 3, First: time.Second}, nil, 3, [2]time.Duration{1500 * time.Millisecond, 4500 * time.Millisecond}},
		{"too often", []error{errPassing, errPassing, errPassing}, Policy{Tries: 3, First: time.Second}, errPassing, 3, [2]time.Duration{1500 * time.Millisecond, 4500 * time.Millisecond}},
		{"final", []error{errFinal}, Policy{Tries: 3, First: time.Second}, errFinal, 1, [2]time.Duration{}},
		{"final at last", []error{errPassing, errPassing, errFinal}, Policy{Tries: 3, First: time.Second}, errFinal, 3, [2]time.Duration{1500 * time.Millisecond, 4500 * time.Millisecond}},
		{"bounded waits", []error{errPassing, errPassing, errPassing}, Policy{Tries: 4, First: time.Second, Most: time.Second}, nil, 4, [2]time.Duration{1500 * time.Millisecond, 4500 * time.Millisecond}},
		{"once", []error{errPassing}, Policy{Tries: 1}, errPassing, 1, [2]time.Duration{}},
		{"no bound", slices.Repeat([]error{errPassing}, 30), Policy{First: time.Second, Most: time.Second}, nil, 31, [2]time.Duration{15 * time.Second, 45 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls, begun := 0, time.Now()
				err := tt.policy.Do(t.Context(), passes, func(context.Context) error {
					if calls++; calls <= len(tt.errs) {
						return tt.errs[calls-1]
					}
					return nil
				})
				if err != tt.want || calls != tt.calls {
					t.Errorf("%v after %d calls, want %v after %d", err, calls, tt.want, tt.calls)
				}
				if waited := time.Since(begun); waited < tt.waited[0] || waited > tt.waited[1] {
					t.Errorf("waited %v, want %v", waited, tt.waited)
				}
			})
		})
	}
}

// A call that does not end in time is made again, whatever it returns.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := Policy{Tries: 3, First: time.Second, Timeout: time.Minute}.Do(t.Context(), passes, func(ctx context.Context) error {
			if calls++; calls < 3 {
				<-ctx.Done()
				return errFinal
			}
			return nil
		})
		if err != nil || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

// The end of the context ends a wait, and a call that it ends is not made again.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls := 0
		err := Policy{Tries: 3, First: time.Hour}.Do(ctx, passes, func(context.Context) error {
			calls++
			return errPassing
		})
		if !errors.Is(err, context.DeadlineExceeded) || calls != 1 {
			t.Errorf("in a wait: %v after %d calls", err, calls)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls := 0
		err := Policy{Tries: 3, First: time.Second, Timeout: time.Hour}.Do(ctx, passes, func(ctx context.Context) error {
			calls++
			<-ctx.Done()
			return errPassing
		})
		if !errors.Is(err, context.DeadlineExceeded) || calls != 1 {
			t.Errorf("in a call: %v after %d calls", err, calls)
		}
	})
}
