package tier

import (
	"context"
	"errors"
	"testing"

	"castar/store"
)

// One of those who wait may give up: the others get what they came for. The last one takes the flight with it.
func TestFlightOutlivesWhoBegan(t *testing.T) {
	var fs flights[int]
	started, land := make(chan struct{}), make(chan struct{})
	get := func(ctx context.Context) (int, error) {
		close(started)
		select {
		case <-land:
			return 42, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := fs.join(ctx, store.Digest{}, get)
	<-started
	if fs.join(t.Context(), store.Digest{}, get) != f {
		t.Fatal("a second flight")
	}
	cancel()
	if fs.leave(store.Digest{}, f) {
		t.Fatal("the first who leaves is the last")
	}
	close(land)
	if <-f.done; f.value != 42 || f.err != nil {
		t.Errorf("flight ended with %d, %v", f.value, f.err)
	}
}

func TestFlightEndsWithTheLast(t *testing.T) {
	var fs flights[int]
	started, ended := make(chan struct{}), false
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, err := fs.do(ctx, store.Digest{}, func(ctx context.Context) (int, error) {
		close(started)
		<-ctx.Done()
		ended = true
		return 0, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || !ended {
		t.Errorf("error %v, ended %v", err, ended)
	}
	if v, err := fs.do(t.Context(), store.Digest{}, func(context.Context) (int, error) { return 1, nil }); v != 1 || err != nil {
		t.Errorf("the next: %d, %v", v, err)
	}
	if len(fs.running) > 0 {
		t.Errorf("%d flights remain", len(fs.running))
	}
}
