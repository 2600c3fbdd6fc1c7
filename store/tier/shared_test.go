package tier

import (
	"context"
	"errors"
	"testing"

	"castar/store"
)

// A waiter may give up, even the one that started the call. The others still get the result.
func TestSharedCallOutlivesItsStarter(t *testing.T) {
	var calls sharedCalls[int]
	started, finish := make(chan struct{}), make(chan struct{})
	get := func(ctx context.Context) (int, error) {
		close(started)
		select {
		case <-finish:
			return 42, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := calls.enter(ctx, store.Digest{}, get)
	<-started
	if calls.enter(t.Context(), store.Digest{}, get) != c {
		t.Fatal("a second call")
	}
	cancel()
	if calls.leave(store.Digest{}, c) {
		t.Fatal("the first waiter to leave counts as the last")
	}
	close(finish)
	if <-c.done; c.value != 42 || c.err != nil {
		t.Errorf("call ended with %d, %v", c.value, c.err)
	}
}

// The last waiter to give up cancels the call.
func TestSharedCallEndsWithLastWaiter(t *testing.T) {
	var calls sharedCalls[int]
	started, ended := make(chan struct{}), false
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err := calls.do(ctx, store.Digest{}, func(ctx context.Context) (int, error) {
		close(started)
		<-ctx.Done()
		ended = true
		return 0, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || !ended {
		t.Errorf("error %v, ended %v", err, ended)
	}
	if v, err := calls.do(t.Context(), store.Digest{}, func(context.Context) (int, error) { return 1, nil }); v != 1 || err != nil {
		t.Errorf("next call: %d, %v", v, err)
	}
	if len(calls.running) > 0 {
		t.Errorf("%d calls remain", len(calls.running))
	}
}
