package packed

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"castar/store"
	"castar/store/durable"
)

// A frame says of itself how much it holds, and so does an index of it. Both may be wrong under a right checksum, by
// damage or on purpose, and zstd makes gigabytes of a few kilobytes. So nothing is allocated for more than the writers of
// the format ever put into a frame; FORMAT.md says it too.
const (
	// maxContents is how many bytes a frame of contents has at most: fewer than groupSize, and then one chunk of at most
	// 4 MiB. Frames that hold more, of directories or of chunk lists, are read as streams.
	maxContents = 8 << 20
	// maxList is how many bytes a chunk list has at most: that of about 2 TB.
	maxList = 256 << 20
	// maxItems is how many items a frame has at most. A group is full at 2 MiB, whatever it holds, and there are few
	// objects of one and two bytes.
	maxItems = 1 << 20
	// flightBytes bounds the large objects in memory, of all goroutines together. One may be larger.
	flightBytes = store.MaxDirectorySize
)

// maxRaw is how many bytes a frame of a kind decodes to at most: what is in a group before it is full, and one object.
func maxRaw(k kind) uint64 {
	switch k {
	case kindList:
		return maxList + maxContents
	case kindDirectory:
		return store.MaxDirectorySize + maxContents
	}
	return maxContents
}

// errImpossible is in the errors of what no writer says.
var errImpossible = errors.New("impossible frame")

// possible reports what in f no writer of this format says of a frame.
func (f frameRef) possible() error {
	// A block of zstd has at least 4 bytes and decodes to at most 128 KiB (RFC 8878, sections 3.1.1.2 and 3.1.1.2.4).
	const mostRatio = 128 << 10 / 4
	raw, stored := uint64(f.raw), uint64(f.stored)
	switch {
	case f.codec > codecZstd || f.kind > kindDirectory:
		return fmt.Errorf("%w: unknown kind", errImpossible)
	case f.offset < packHeadLen || f.end() < f.offset:
		return fmt.Errorf("%w: offset %d", errImpossible, f.offset)
	case f.start < frameHeadLen || uint64(f.start) >= frameHeadLen+maxItems*itemLen+blockSize:
		return fmt.Errorf("%w: head of %d bytes", errImpossible, f.start)
	case raw > maxRaw(f.kind):
		return fmt.Errorf("%w: %d bytes, more than %d", errImpossible, raw, maxRaw(f.kind))
	case f.codec == codecRaw && raw != stored, raw > mostRatio*stored, stored > raw+raw/64+1<<10:
		return fmt.Errorf("%w: %d bytes of which %d are stored", errImpossible, raw, stored)
	}
	return nil
}

// checkSizes reports what in f is impossible, so that no more is allocated for a damaged one than it has bytes for.
func checkSizes(f frameRef, pack durable.File) error {
	if err := f.possible(); err != nil {
		return err
	}
	if f.stored <= bufferSize {
		return nil
	}
	size, err := pack.Size()
	if err == nil && f.end() > size {
		err = io.EOF
	}
	return err
}

// streamed reports whether a frame is too large to be decoded as a whole.
func (f frameRef) streamed() bool { return f.raw > maxContents }

// large reports whether an object is beyond what is kept of a frame that is streamed. Only the last in a frame may be.
func (l location) large() bool {
	return l.frame.streamed() && uint64(l.offset)+uint64(l.size) > maxContents
}

// errOutside is what is wrong with the place of an object where its frame has none.
var errOutside = errors.New("object lies outside its frame")

// attempts counts the large objects that are looked for in each frame, where there is but one: to look for any number of
// them would cost as many times the whole frame.
type attempts map[frameRef]int

// enough reports whether no more are to be looked for in the frame of l.
func (a attempts) enough(l location) bool {
	const most = 4 // as indexes may disagree
	if !l.large() {
		return false
	}
	a[l.frame]++
	return a[l.frame] > most
}

// flight bounds the bytes that several goroutines have in memory at once. Whoever holds some of them must not ask for
// more.
type flight struct {
	mu   sync.Mutex
	done sync.Cond
	left int
}

func newFlight(n int) *flight {
	f := &flight{left: n}
	f.done.L = &f.mu
	return f
}

// take waits until n bytes are free, or all are where n is more. They are free again once land is called.
func (f *flight) take(n int) (land func()) {
	n = min(n, flightBytes)
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.left < n {
		f.done.Wait()
	}
	f.left -= n
	return func() {
		f.mu.Lock()
		f.left += n
		f.mu.Unlock()
		f.done.Broadcast()
	}
}
