package pack

// Use calls f with the bytes at l, unchecked, which f must not keep. A large object waits until others are done with
// theirs; so f must not ask for any.
func (p *Files) Use(l Location, f func(data []byte) error) error {
	defer p.Weigh(l.Size)()
	data, release, err := p.View(l)
	if err != nil {
		return err
	}
	defer release()
	return f(data)
}

// Weigh waits until there is memory for an object of that size, and for what it decodes to as a directory, several times
// as much. It returns what gives the memory back. Small objects need not wait.
func (p *Files) Weigh(size uint32) (give func()) {
	const small, times = 1 << 20, 8
	if size <= small {
		return func() {}
	}
	return p.large.take(times * int(size))
}

// View returns the bytes at l, unchecked. They must not be changed, and are valid until release is called, once. If their
// frame has many objects, it is cached. Damage that shows is a *store.CorruptError.
func (p *Files) View(l Location) (data []byte, release func(), err error) {
	if l.Large() {
		if l.Offset > MaxContents {
			return nil, nil, p.Corrupt(l.Frame, ErrOutside)
		}
		data, err = p.readStreamed(l)
		return data, func() {}, err
	}
	if l.Size == l.Frame.Raw {
		var buf []byte
		if l.Size <= bufferSize {
			buf = p.buffer(int(l.Size))
		}
		data, err = p.readPayload(l.Frame, buf)
		return data, func() { p.release(buf) }, err
	}
	payload, held, err := p.frames.get(p, l.Frame, int(l.Size))
	if err != nil {
		return nil, nil, err
	}
	if uint64(l.Offset)+uint64(l.Size) > uint64(len(payload)) { // two indexes disagree about the frame
		held.release()
		return nil, nil, p.Corrupt(l.Frame, ErrOutside)
	}
	return payload[l.Offset:][:l.Size:l.Size], held.release, nil
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
	if f.Codec == Raw {
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
