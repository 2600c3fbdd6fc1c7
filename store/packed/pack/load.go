package pack

import (
	"errors"
	"fmt"

	"castar/store"
)

// ErrPayload is what is wrong with a payload that is not what was written. The objects in it may be whole, except chunk
// lists, which nothing else vouches for.
var ErrPayload = errors.New("payload does not match its checksum")

// ErrPadding is what is wrong with a frame whose padding is not zero. Its objects are whole.
var ErrPadding = errors.New("padding is not zero")

// errOther is what is wrong with a frame that is not what an index says.
var errOther = errors.New("frame is not what the index says")

// Loaded is a frame in memory, checked against its checksums. The zero Loaded is ready for Files.Load, which uses the
// memory of the frame that was loaded before.
type Loaded struct {
	Frame  Frame
	Head   Head
	Sound  bool // the payload is what was written; if not, no chunk list is whole
	Padded bool // the padding is zero, as it should be

	stored []byte // the whole frame
	raw    []byte // decoded payload
	spare  []byte // memory for raw
}

// Memory is how many bytes of memory the frame takes.
func (l *Loaded) Memory() int { return cap(l.stored) + cap(l.spare) }

// Payload returns the payload as it is stored, until the next Load.
func (l *Loaded) Payload() []byte { return l.stored[l.Frame.Start:] }

// Bytes returns the bytes of the object at a place in the frame, unchecked, until the next Load.
func (l *Loaded) Bytes(at Location) []byte { return l.raw[at.Offset:][:at.Size:at.Size] }

// Load reads and decodes a whole frame into l. The frame must be what f says, and not be streamed. Damage is a
// *store.CorruptError; see Contradicts. After an error l is only good for another Load, but that it says whether the
// payload was sound.
func (p *Files) Load(f Frame, l *Loaded) error {
	if err := p.loadStored(f, l); err != nil {
		return err
	}
	if !l.Sound && f.Kind == KindList {
		return p.Corrupt(f, ErrPayload)
	}
	if f.Codec == Raw {
		l.raw = l.Payload()
		return nil
	}
	l.spare = resize(l.spare, int(f.Raw))
	l.raw = l.spare
	if err := p.decoder.Decode(l.raw, l.Payload()); err != nil {
		err = fmt.Errorf("frame: %w", err)
		if !l.Sound {
			err = ErrPayload
		}
		return p.Corrupt(f, err)
	}
	return nil
}

// loadStored reads a frame, and does not decode it.
func (p *Files) loadStored(f Frame, l *Loaded) error {
	b, err := p.read(f, f.Length(), l.stored)
	l.Frame, l.stored, l.raw, l.Sound = f, b, nil, false
	if err != nil {
		return err
	}
	if l.Head, l.Padded, err = p.parse(f, l.stored[:f.Start]); err != nil {
		return err
	}
	l.Sound = Checksum(l.Payload()) == l.Head.PayloadSum
	return nil
}

// LoadHead reads the head of a frame, which must be what f says, and reports whether its padding is zero. Damage is a
// *store.CorruptError; see Contradicts.
func (p *Files) LoadHead(f Frame) (h Head, padded bool, err error) {
	b, err := p.read(f, int64(f.Start), nil)
	if err != nil {
		return h, false, err
	}
	return p.parse(f, b)
}

// read reads the first n bytes of a frame into b or, if b is too small, into new memory.
func (p *Files) read(f Frame, n int64, b []byte) ([]byte, error) {
	pack, err := p.open.acquire(f.Pack)
	if err != nil {
		return b, p.Unreadable(f, err)
	}
	defer p.open.release(pack)
	if err := checkSizes(f, pack); err != nil {
		return b, p.Unreadable(f, err)
	}
	b = resize(b, int(n))
	if _, err := pack.ReadAt(b, f.Offset); err != nil {
		return b, p.Unreadable(f, err)
	}
	return b, nil
}

// parse reads the head of f, and compares it with f.
func (p *Files) parse(f Frame, b []byte) (h Head, padded bool, err error) {
	h, _, err = ParseFrameHead(b)
	if err == nil && h.At(f.Pack, f.Offset) != f {
		err = errOther
	}
	if err != nil {
		return h, false, p.Corrupt(f, err)
	}
	for _, c := range b[FrameHeadLen+len(h.Items)*ItemLen:] {
		if c != 0 {
			return h, false, nil
		}
	}
	return h, true, nil
}

// ErrLacks is what is wrong with a frame that does not have, by its head, what the index says.
var ErrLacks = errors.New("frame lacks objects that the index has in it")

// Listed reports why the head of a frame does not have the object d at l. Damage is a *store.CorruptError.
func (p *Files) Listed(l Location, d *store.Digest) error {
	h, _, err := p.LoadHead(l.Frame)
	if err != nil {
		return err
	}
	for n, at := range h.Locations(l.Frame) {
		if h.Items[n].Digest == *d && at == l {
			return nil
		}
	}
	return p.Corrupt(l.Frame, ErrLacks)
}

// Stored returns the items of a frame, and its payload as it is stored, after a check of its checksum. If compressed is
// set, the payload is one zstd frame; otherwise it is the bytes of the items. Damage is a *store.CorruptError.
func (p *Files) Stored(f Frame) (items []Item, payload []byte, compressed bool, err error) {
	var l Loaded
	if err := p.loadStored(f, &l); err != nil {
		return nil, nil, false, err
	}
	if !l.Sound {
		return nil, nil, false, p.Corrupt(f, ErrPayload)
	}
	return l.Head.Items, l.Payload(), f.Codec == Zstd, nil
}
