//go:build race

package storetest

// UnderRace says whether the race detector is on. It is slow, so tests that try many states then try only some.
const UnderRace = true
