package rpc

import (
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// More and more calls run at once as long as the server takes them, and half as many when it does not.
func TestPace(t *testing.T) {
	p := newPace()
	overload := saidBy("s", status.Error(codes.ResourceExhausted, "too much"))
	overload = fromStatus(overload, [32]byte{})
	atOnce := func() (n int) { // how many calls run before one must wait
		var mu sync.Mutex
		var all sync.WaitGroup
		leave := make(chan struct{})
		p.mu.Lock()
		most := p.limit
		p.mu.Unlock()
		var in sync.WaitGroup
		in.Add(most)
		for range most + 50 {
			all.Go(func() {
				p.do(t.Context(), func() error {
					mu.Lock()
					if n++; n <= most {
						in.Done()
					}
					mu.Unlock()
					<-leave
					return nil
				})
			})
		}
		in.Wait()
		mu.Lock()
		got := n
		mu.Unlock()
		close(leave)
		all.Wait()
		return got
	}
	if n := atOnce(); n != usualSingles {
		t.Errorf("%d calls at once, want %d at first", n, usualSingles)
	}
	for range 100_000 {
		p.do(t.Context(), func() error { return nil })
	}
	if n := atOnce(); n != mostSingles {
		t.Errorf("%d calls at once, want %d after many", n, mostSingles)
	}
	first := true
	err := p.do(t.Context(), func() error {
		if first {
			first = false
			return overload
		}
		return nil
	})
	if n := atOnce(); err != nil || n != leastSingles {
		t.Errorf("%d calls at once, %v, want %d after the server refused the only one", n, err, leastSingles)
	}
}
