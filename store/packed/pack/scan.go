package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"

	"castar/store"
	"castar/store/durable"
)

// Size returns how many bytes a pack has.
func (p *Files) Size(id ID) (int64, error) {
	f, err := p.open.acquire(id, false)
	if err != nil {
		return 0, p.Unreadable(Frame{Pack: id}, err)
	}
	defer p.open.release(f)
	return f.Size()
}

// Role returns the role of a pack. The error is ErrFormat for a pack of a newer program, which is not damage; see Newer.
// Damage is a *store.CorruptError.
func (p *Files) Role(id ID) (Role, error) {
	f, err := p.open.acquire(id, false)
	if err != nil {
		return 0, p.Unreadable(Frame{Pack: id}, err)
	}
	defer p.open.release(f)
	return p.role(id, f)
}

func (p *Files) role(id ID, f durable.File) (Role, error) {
	var head [PackHeadLen]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, p.Unreadable(Frame{Pack: id}, err)
	}
	r, err := ParsePackHead(head[:])
	if err != nil && !errors.Is(err, ErrFormat) {
		err = p.Corrupt(Frame{Pack: id}, err)
	}
	return r, err
}

// Newer returns an error that is ErrFormat if a pack is of a newer program, and so not to be touched. The head of a pack
// has no checksum: if a frame of this format follows, the head is only damaged.
func (p *Files) Newer(id ID) error {
	f, err := p.open.acquire(id, false)
	if err != nil {
		return err
	}
	defer p.open.release(f)
	_, err = p.role(id, f)
	if store.IsCorrupt(err) {
		return nil
	}
	if !errors.Is(err, ErrFormat) {
		return err
	}
	size, serr := f.Size()
	if serr != nil {
		return serr
	}
	if _, herr := p.readHead(f, id, PackHeadLen, size); herr == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.fs.Path(id.Path()), err)
}

// Scan yields the frames of a pack, from end to end, as far as their heads are whole: after damage it looks for the next
// head. It calls damage for each damaged place, with a *store.CorruptError. It returns how many bytes the pack has. An
// error is not damage, but a reason to stop.
func (p *Files) Scan(ctx context.Context, id ID, damage func(Frame, error), yield func(Frame) bool) (size int64, err error) {
	f, err := p.open.acquire(id, false)
	if err != nil {
		return 0, p.Unreadable(Frame{Pack: id}, err)
	}
	defer p.open.release(f)
	if size, err = f.Size(); err != nil {
		return 0, err
	}
	role, err := p.role(id, f)
	sound := err == nil
	if errors.Is(err, ErrFormat) { // a frame follows: see Newer
		err = p.Corrupt(Frame{Pack: id}, ErrVersion)
	}
	if store.IsCorrupt(err) {
		damage(Frame{Pack: id}, err)
	} else if err != nil {
		return size, err
	}
	for at := int64(PackHeadLen); at < size; {
		h, err := p.readHead(f, id, at, size)
		frame := h.At(id, at)
		if err == nil && sound && h.Kind.Role() != role {
			err = p.Corrupt(frame, errors.New("frame of another role"))
		}
		if store.IsCorrupt(err) {
			damage(Frame{Pack: id, Offset: at}, err)
			if at, err = p.nextFrame(ctx, f, id, at+1, size); err == nil {
				continue
			}
		}
		if err != nil {
			return size, err
		}
		if !yield(frame) {
			return size, nil
		}
		at = frame.End()
	}
	return size, nil
}

// readHead reads the head of the frame at an offset of a pack of that size. Damage is a *store.CorruptError.
func (p *Files) readHead(f durable.File, id ID, at, size int64) (h FrameHead, err error) {
	where := Frame{Pack: id, Offset: at}
	if at < PackHeadLen || at >= size {
		return h, p.Corrupt(where, errCut)
	}
	need := min(64<<10, size-at)
	for {
		b := make([]byte, need)
		if _, err := f.ReadAt(b, at); err != nil {
			return h, p.Unreadable(where, err)
		}
		var more int
		if h, more, err = ParseFrameHead(b); err == nil {
			if end := h.At(id, at).End(); end > size {
				err = p.Corrupt(where, errCut)
			}
			return h, err
		}
		if !errors.Is(err, ErrShort) || int64(more) <= need || int64(more) > size-at {
			return h, p.Corrupt(where, err)
		}
		need = int64(more)
	}
}

// nextFrame returns the first offset from at on at which a frame begins, or size. What looks like one by chance does not
// have the right checksum.
func (p *Files) nextFrame(ctx context.Context, f durable.File, id ID, at, size int64) (int64, error) {
	const window = 1 << 20
	buf := make([]byte, max(min(window, size-at), 0))
	for ; at < size; at += window - int64(len(frameMagic)) + 1 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b := buf[:min(window, size-at)]
		if _, err := f.ReadAt(b, at); errors.Is(err, syscall.EIO) {
			continue // what the disk cannot read is skipped
		} else if err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			j := bytes.Index(b[i:], []byte(frameMagic))
			if j < 0 {
				break
			}
			i += j
			_, err := p.readHead(f, id, at+int64(i), size)
			if !store.IsCorrupt(err) {
				return at + int64(i), err
			}
		}
	}
	return size, nil
}
