// Package care looks after a packed store: verify, gc and repair. Its files are named after these commands.
//
// All three rest on a census: each frame is read once, and each object in it is judged once (pack.Files.Check). Verify and
// gc take the frames that indexes claim (verifyframes.go, gcmove.go); repair takes those that packs have, and then looks
// for what only an index leads to (repairscan.go, repairrescue.go). Gc and repair then move objects to new packs, and put
// one index of all that is left in the place of all others (gc.go, gcmove.go):
//
//	plan what is alive → move it out of packs of which much is dead → publish packs → new index → remove
package care

import "castar/store/packed/internal/live"

// Store is a store with what looks after it: it implements store.Scrubber, store.Sweeper and store.Repairer.
type Store struct{ *live.Store }

// Of returns a store with what looks after it.
func Of(st *live.Store) Store { return Store{st} }
