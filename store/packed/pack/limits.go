package pack

import (
	"errors"
	"fmt"
	"io"

	"castar/store"
)

const (
	// GroupSize is how many bytes of blobs and chunks are compressed together. A kernel tree takes 236 MB with frames of
	// 1 MiB if each chunk has its own, 232 MB if chunks share them, 228.7 MB with 2 MiB and 226.7 MB with 4 MiB; but
	// reading one small blob costs decoding its group, a millisecond for 2 MiB.
	GroupSize = 2 << 20
	// metaGroupSize is the same for directories and chunk lists, which are more often read one at a time.
	metaGroupSize = 256 << 10
)

// GroupLimit returns the number of bytes from which a group of objects of a kind is full.
func GroupLimit(k Kind) int {
	if k == KindData {
		return GroupSize
	}
	return metaGroupSize
}

// A frame says of itself how much it holds, and so does an index of it. Both may be wrong under a right checksum, by
// damage or on purpose, and zstd makes gigabytes of a few kilobytes. So nothing is allocated for more than the writers of
// the format ever put into a frame; FORMAT.md has these limits too.
const (
	// MaxContents is how many bytes a frame of contents has at most: fewer than GroupSize, and then one chunk of at most
	// 4 MiB. Frames that hold more, of directories or of chunk lists, are read as streams.
	MaxContents = 8 << 20
	// MaxList is how many bytes a chunk list has at most: that of about 2 TB.
	MaxList = 256 << 20
	// maxItems is how many items a frame has at most. A group is full at 2 MiB, whatever it holds, and there are few
	// objects of one and two bytes.
	maxItems = 1 << 20
	// largeBytes bounds the large objects in memory, of all goroutines together. One may be larger.
	largeBytes = store.MaxDirectorySize
)

// MaxRaw returns how many bytes a frame of a kind decodes to at most: a group that is not full, and one object.
func MaxRaw(k Kind) uint64 {
	switch k {
	case KindList:
		return MaxList + MaxContents
	case KindDirectory:
		return store.MaxDirectorySize + MaxContents
	}
	return MaxContents
}

// ErrImpossible is in the errors of what no writer says of a frame.
var ErrImpossible = errors.New("impossible frame")

// Possible reports what in f no writer of this format says of a frame. The error is ErrImpossible.
func (f Frame) Possible() error {
	raw, stored := uint64(f.Raw), uint64(f.Stored)
	switch {
	case !f.Codec.known() || f.Kind > KindDirectory:
		return fmt.Errorf("%w: unknown kind", ErrImpossible)
	case f.Offset < PackHeadLen || f.End() < f.Offset:
		return fmt.Errorf("%w: offset %d", ErrImpossible, f.Offset)
	case f.Start < FrameHeadLen || uint64(f.Start) >= FrameHeadLen+maxItems*ItemLen+MaxPadding:
		return fmt.Errorf("%w: head of %d bytes", ErrImpossible, f.Start)
	case raw > MaxRaw(f.Kind):
		return fmt.Errorf("%w: %d bytes, more than %d", ErrImpossible, raw, MaxRaw(f.Kind))
	case !f.Codec.possible(raw, stored):
		return fmt.Errorf("%w: %d bytes, %d of them stored", ErrImpossible, raw, stored)
	}
	return nil
}

// MaxItems returns how many items the head of f has room for.
func (f Frame) MaxItems() uint32 { return (f.Start - FrameHeadLen) / ItemLen }

// acquire returns the pack of f, which must be released. It reports what in f is impossible, so that no more is allocated
// for a damaged frame than it has bytes. The error is as Unreadable has it.
func (p *Files) acquire(f Frame) (*openFile, error) {
	pack, err := p.open.acquire(f.Pack, f.Kind.Role() == RoleMeta)
	if err != nil {
		return nil, p.Unreadable(f, err)
	}
	if err = f.Possible(); err == nil && (f.Stored > bufferSize || f.Start > smallBuffer) {
		var size int64
		if size, err = pack.Size(); err == nil && f.End() > size {
			err = io.EOF
		}
	}
	if err != nil {
		p.open.release(pack)
		return nil, p.Unreadable(f, err)
	}
	return pack, nil
}

// ErrOutside is what is wrong with the place of an object if its frame has none.
var ErrOutside = errors.New("object lies outside its frame")

// Attempts counts the large objects that are looked for in each frame. A frame has one: to look for any number of them
// would cost as many times the whole frame. It is for one goroutine.
type Attempts map[Frame]int

// Enough counts the object at l, and reports whether no more large ones are to be looked for in its frame.
func (a Attempts) Enough(l Location) bool {
	const most = 4 // as indexes may disagree
	if !l.Large() {
		return false
	}
	a[l.Frame]++
	return a[l.Frame] > most
}
