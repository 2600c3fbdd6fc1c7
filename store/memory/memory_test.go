package memory_test

import (
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) *store.Store { return memory.New() })
}

// Close frees nothing, so a store must have everything when it is "opened" again.
func TestAfterClose(t *testing.T) {
	stores := map[string]*store.Store{}
	storetest.RunReopen(t, func(_ *testing.T, dir string) *store.Store {
		if stores[dir] == nil {
			stores[dir] = memory.New()
		}
		return stores[dir]
	})
}
