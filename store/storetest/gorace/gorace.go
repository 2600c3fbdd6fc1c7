// Package gorace makes tests under the race detector quick.
package gorace

import "testing"

// Options keep a program that was built with the race detector from sleeping for a second before it exits. They also
// keep the detector from mapping its memory again for each new object of 16 KiB and more, which is a quarter of the
// time of a program that has many.
const Options = "atexit_sleep_ms=0 clear_shadow_mmap_threshold=268435456"

// Main is the TestMain of packages that need no other.
func Main(m *testing.M) {
	Restart()
	m.Run()
}
