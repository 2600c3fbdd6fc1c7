package packed

// careStore is a store with what looks after it: it implements store.Scrubber, store.Sweeper and store.Repairer.
type careStore struct{ *Store }

// careOf returns a store with what looks after it.
func careOf(st *Store) careStore { return careStore{st} }
