package pack

import (
	"context"

	"castar/store"
	"castar/store/durable"
)

// Use calls f with the bytes at l, unchecked, which f must not keep. A large object waits until others are done with
// theirs; so f must not ask for any.
func (p *Files) Use(l Location, f func(data []byte) error) error {
	defer p.Weigh(l.Size)()
	v, err := p.View(l)
	if err != nil {
		return err
	}
	defer v.Release()
	return f(v.Data)
}

// Weigh waits until there is memory for an object of that size, and for what it decodes to as a directory, several times
// as much. It returns what gives the memory back. Small objects need not wait.
func (p *Files) Weigh(size uint32) (give func()) {
	const small, times = 1 << 20, 8
	if size <= small {
		return func() {}
	}
	n := min(times*int64(size), largeBytes)
	_ = p.large.Acquire(context.Background(), n) // fails only at the end of its context
	return func() { p.large.Release(n) }
}

// Viewed is the bytes of an object. They must not be changed, and are valid until Release is called, once.
type Viewed struct {
	Data    []byte
	Extent  *store.Extent // where they lie as they are, or nil
	Release func()
}

// View returns the bytes at l, unchecked. If their frame has many objects, it is cached. Damage that shows is a
// *store.CorruptError.
func (p *Files) View(l Location) (v Viewed, err error) {
	switch {
	case l.Large():
		if l.Offset > MaxContents {
			return v, p.Corrupt(l.Frame, ErrOutside)
		}
		v.Data, err = p.readStreamed(l)
		v.Release = func() {}
		return v, err
	case p.readsPlain(l):
		return p.readPlain(l)
	case l.Size == l.Frame.Raw:
		var buf []byte
		if l.Size <= bufferSize {
			buf = p.buffer(int(l.Size))
		}
		v.Data, err = p.readPayload(l.Frame, buf)
		v.Release = func() { p.release(buf) }
		return v, err
	}
	payload, held, err := p.frames.get(p, l.Frame, int(l.Size))
	if err != nil {
		return v, err
	}
	if uint64(l.Offset)+uint64(l.Size) > uint64(len(payload)) { // two indexes disagree about the frame
		held.release()
		return v, p.Corrupt(l.Frame, ErrOutside)
	}
	return Viewed{Data: payload[l.Offset:][:l.Size:l.Size], Release: held.release}, nil
}

// PlainFrom is the size from which an object that does not compress is kept out of frames with others that do, in bytes.
const PlainFrom = 64 << 10

// readsPlain reports whether the object at l is read without the others of its frame: it is stored as it is, and long enough
// to be worth a call or, if the store is far away, a round trip.
func (p *Files) readsPlain(l Location) bool {
	least := uint32(4 << 10)
	if _, far := p.fs.(durable.Far); far {
		least = PlainFrom
	}
	return l.Frame.Codec == Plain && l.Size >= least
}

// readPlain reads the object at l, which is stored as it is. Its pack stays open with the bytes if files can share its blocks.
func (p *Files) readPlain(l Location) (v Viewed, err error) {
	if uint64(l.Offset)+uint64(l.Size) > uint64(l.Frame.Raw) {
		return v, p.Corrupt(l.Frame, ErrOutside)
	}
	file, err := p.acquire(l.Frame)
	if err != nil {
		return v, err
	}
	at := l.Frame.Offset + int64(l.Frame.Start) + int64(l.Offset)
	var buf []byte
	if l.Size <= bufferSize {
		buf = p.buffer(int(l.Size))
	}
	data := resize(buf, int(l.Size))
	v = Viewed{Data: data, Release: func() { p.release(buf) }}
	_, err = file.ReadAt(data, at)
	if source, ok := file.File.(store.Cloneable); ok && err == nil {
		v.Extent = &store.Extent{File: source, Offset: at}
		v.Release = func() {
			p.release(buf)
			p.open.release(file)
		}
		return v, nil
	}
	p.open.release(file)
	if err != nil {
		p.release(buf)
		return Viewed{}, p.Unreadable(l.Frame, err)
	}
	return v, nil
}

// readStreamed reads the bytes at l in a streamed frame.
func (p *Files) readStreamed(l Location) (data []byte, err error) {
	err = p.streamPieces(l, func(part []byte) error {
		if data == nil { // nothing is allocated for a frame that cannot be
			data = make([]byte, 0, l.Size)
		}
		data = append(data, part...)
		return nil
	})
	return data, err
}

// readPayload reads and decodes the payload of a frame into dst, which is grown if it is too small. Unlike Load it trusts
// f, and so needs one read and no checksum: readers check objects against their digests.
func (p *Files) readPayload(f Frame, dst []byte) ([]byte, error) {
	if f.Codec == Plain {
		return p.read(f, int(f.Start), int(f.Stored), dst)
	}
	stored, err := p.read(f, int(f.Start), int(f.Stored), p.buffer(int(f.Stored)))
	defer func() { p.release(stored) }()
	if err != nil {
		return nil, err
	}
	raw, err := p.decode(f.Codec, resize(dst, int(f.Raw)), stored)
	if err != nil {
		return nil, p.Corrupt(f, err)
	}
	return raw, nil
}
