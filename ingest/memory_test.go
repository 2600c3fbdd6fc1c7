package ingest

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"castar/store/storetest"

	"golang.org/x/sys/unix"
)

// TestMemory ingests large trees and watches the live heap. Trees of a million entries are measured by hand.
func TestMemory(t *testing.T) {
	if testing.Short() || storetest.UnderRace { // which has a heap of its own
		t.Skip("NOT TESTED: large trees, in short tests and under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	const files, directories, each = 200_000, 50_000, 250
	base := onTmpfs(t)
	tests := []struct {
		name  string
		make  func(dir string)
		count uint64 // of files and directories
		most  uint64 // bytes of heap
	}{
		// A file takes its name once, 16 bytes to point to it, 80 for its node, and about 60 for its encoding.
		{"one directory of files", func(dir string) {
			for i := range files {
				try(t, unix.Mknod(fmt.Sprintf("%s/file-%06d", dir, i), unix.S_IFREG|0o644, 0))
			}
		}, uint64(files) + 1, uint64(files) * each},
		{"directories in a tree", func(dir string) {
			makeFan(t, dir, 5, directories)
		}, uint64(directories) + 1, 8 << 20},
	}
	for i, tt := range tests {
		dir := fmt.Sprintf("%s/%d", base, i)
		plant(t, dir, tree{})
		tt.make(dir)
		runtime.GC()
		var start, now runtime.MemStats
		runtime.ReadMemStats(&start)
		done, peak := make(chan struct{}), make(chan uint64)
		go func() {
			var most uint64
			for {
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
				select {
				case <-done:
					peak <- most
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		r, err := FS(context.Background(), nil, dir, Options{})
		close(done)
		try(t, err)
		used := int64(<-peak) - int64(start.HeapAlloc)
		if n := r.Counts.Files + r.Counts.Directories; n != tt.count {
			t.Errorf("%s: %d entries, want %d", tt.name, n, tt.count)
		}
		t.Logf("%s: %d KiB", tt.name, used>>10)
		if used > int64(tt.most) {
			t.Errorf("%s: heap grew by %d bytes, want at most %d", tt.name, used, tt.most)
		}
	}
}

// makeFan makes n directories, at most ten in each and five levels deep, and returns how many it did not make.
func makeFan(t testing.TB, dir string, levels, n int) int {
	for i := 0; i < 10 && n > 0; i++ {
		path := fmt.Sprintf("%s/%d", dir, i)
		try(t, unix.Mkdir(path, 0o755))
		n--
		if levels > 1 {
			n = makeFan(t, path, levels-1, n)
		}
	}
	return n
}
