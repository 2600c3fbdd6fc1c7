package pack

import (
	"errors"

	"castar/store"
)

var (
	// ErrPayload is what is wrong with a payload that is not what was written. The objects in it may be whole, except
	// chunk lists, which nothing else vouches for.
	ErrPayload = errors.New("payload does not match its checksum")
	// ErrPadding is what is wrong with a frame whose padding is not zero. Its objects are whole.
	ErrPadding = errors.New("padding is not zero")
	// ErrLacks is what is wrong with a frame that does not have, by its head, what the index says.
	ErrLacks = errors.New("frame lacks objects that the index has in it")

	errOther = errors.New("frame is not what the index says")
)

// Loaded is a frame that was read and compared with its checksums. The zero Loaded is ready for Files.Load and
// Files.Check, which use the memory of the frame that was loaded before.
type Loaded struct {
	Frame  Frame
	Head   FrameHead
	Sound  bool // the payload is what was written; if not, no chunk list is whole
	Padded bool // the padding is zero, as it should be
	// Wrong says, after Check, why each item that was asked for is not whole; nil if it is.
	Wrong []error
	// Cut is why Check did not get to the end of a streamed frame, or nil.
	Cut error

	stored []byte // the whole frame
	raw    []byte // decoded payload
	spare  []byte // memory for raw
}

// Memory is how many bytes of memory the frame takes.
func (l *Loaded) Memory() int { return cap(l.stored) + cap(l.spare) }

// Payload returns the payload as it is stored, until the next Load.
func (l *Loaded) Payload() []byte { return l.stored[l.Frame.Start:] }

// Aligned reports whether the frame has padding, which makes files able to share blocks with its payload.
func (l *Loaded) Aligned() bool {
	return l.Frame.Codec == Plain && int(l.Frame.Start) > FrameHeadLen+len(l.Head.Items)*ItemLen
}

// Bytes returns the bytes of the object at a place in the frame, unchecked, until the next Load. The frame must not be
// streamed.
func (l *Loaded) Bytes(at Location) []byte { return l.raw[at.Offset:][:at.Size:at.Size] }

// Check reads a frame and checks those of its objects that wanted names, which is called for each number in order once
// l.Head is known. A streamed frame is never in memory as a whole. Damage to the head, or to all of the frame, is an error
// as for Load.
func (p *Files) Check(f Frame, l *Loaded, wanted func(n int, at Location) bool) error {
	l.Wrong, l.Cut = nil, nil
	if f.Streamed() {
		return p.checkStreamed(f, l, wanted)
	}
	if err := p.Load(f, l); err != nil {
		return err
	}
	l.Wrong = make([]error, len(l.Head.Items))
	for n, at := range l.Head.Locations(f) {
		if !wanted(n, at) {
			continue
		}
		give := func() {}
		if f.Kind == KindDirectory {
			give = p.Weigh(at.Size)
		}
		l.Wrong[n] = CheckDecoded(f.Kind, l.Head.Items[n].Digest, l.Bytes(at))
		give()
	}
	return nil
}

// checkStreamed does what Check does for a streamed frame.
func (p *Files) checkStreamed(f Frame, l *Loaded, wanted func(n int, at Location) bool) (err error) {
	l.Frame, l.Sound = f, false
	if l.Head, l.Padded, err = p.LoadHead(f); err != nil {
		return err
	}
	s, err := p.stream(f)
	if err != nil {
		return err
	}
	defer s.Close()
	l.Wrong = make([]error, len(l.Head.Items))
	for n, at := range l.Head.Locations(f) {
		it := l.Head.Items[n]
		switch {
		case l.Cut != nil:
			l.Wrong[n] = l.Cut
		case !wanted(n, at):
			l.Cut = s.skip(int64(it.Size))
		default:
			if l.Wrong[n], l.Cut = s.check(it, f.Kind); l.Cut != nil {
				l.Wrong[n] = l.Cut
			} else if f.Kind == KindDirectory && l.Wrong[n] == nil {
				l.Wrong[n] = p.Use(at, func(data []byte) error { return CheckDecoded(f.Kind, it.Digest, data) })
			}
		}
	}
	if l.Cut == nil {
		var sum uint32
		sum, l.Cut = s.end()
		l.Sound = l.Cut == nil && sum == l.Head.PayloadSum
	}
	if f.Kind == KindList && !l.Sound {
		for n := range l.Wrong {
			l.Wrong[n] = ErrPayload
		}
	}
	if l.Cut != nil && !store.IsCorrupt(l.Cut) {
		return l.Cut
	}
	return nil
}

// check reads an item and returns what is wrong with it, as Check does. It never holds all of it.
func (s *frameStream) check(it Item, k Kind) (wrong, err error) {
	var h store.Hasher
	if k == KindList {
		wrong = CheckListSize(int64(it.Size))
	}
	err = s.pieces(it.Size, func(part []byte) error {
		if k != KindList {
			h.Write(part)
		} else if wrong == nil {
			wrong = checkChunks(part)
		}
		return nil
	})
	if k != KindList && h.Sum() != it.Digest {
		wrong = store.ErrDigestMismatch
	}
	return wrong, err
}

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
	if f.Codec != Plain {
		l.spare = resize(l.spare, int(f.Raw))
	}
	var err error
	if l.raw, err = p.decode(f.Codec, l.spare, l.Payload()); err != nil {
		if !l.Sound {
			err = ErrPayload
		}
		return p.Corrupt(f, err)
	}
	return nil
}

// loadStored reads a frame, and does not decode it.
func (p *Files) loadStored(f Frame, l *Loaded) (err error) {
	l.Frame, l.raw, l.Sound = f, nil, false
	if l.stored, err = p.read(f, 0, int(f.Length()), l.stored); err != nil {
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
func (p *Files) LoadHead(f Frame) (h FrameHead, padded bool, err error) {
	b, err := p.read(f, 0, int(f.Start), nil)
	if err != nil {
		return h, false, err
	}
	return p.parse(f, b)
}

// read reads n bytes of a frame, from an offset in it, into b or, if b is too small, into new memory.
func (p *Files) read(f Frame, from, n int, b []byte) ([]byte, error) {
	pack, err := p.acquire(f)
	if err != nil {
		return b, err
	}
	defer p.open.release(pack)
	b = resize(b, n)
	if _, err := pack.ReadAt(b, f.Offset+int64(from)); err != nil {
		return b, p.Unreadable(f, err)
	}
	return b, nil
}

// parse reads the head of f, and compares it with f.
func (p *Files) parse(f Frame, b []byte) (h FrameHead, padded bool, err error) {
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

// LoadStored reads a frame into l as it is stored, and does not decode it. The payload is one zstd frame if compressed is set,
// and otherwise the bytes of the items. Damage, also to the payload, is a *store.CorruptError.
func (p *Files) LoadStored(f Frame, l *Loaded) (compressed bool, err error) {
	if err = p.loadStored(f, l); err == nil && !l.Sound {
		err = p.Corrupt(f, ErrPayload)
	}
	return f.Codec == Zstd, err
}
