//go:build race

package storetest

// UnderRace says whether this is the race detector's build, under which tests that try many states try some of them.
const UnderRace = true
