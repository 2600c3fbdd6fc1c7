package packed

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"

	"castar/store"
	"castar/store/durable"
	"castar/store/zstd"
)

// frameStream reads the decoded payload of a frame from its beginning. It is for one goroutine, and is to be closed.
type frameStream struct {
	st   *Store
	f    frameRef
	pack *packFile
	src  *payloadReader
	raw  io.Reader // what src decodes to
	done func() error
}

// payloadReader reads the stored payload of a frame, and adds up its checksum.
type payloadReader struct {
	file    durable.File
	at, end int64
	sum     uint32
	err     error // other than the end
}

func (r *payloadReader) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), r.end-r.at)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p, r.at)
	r.at += int64(n)
	r.sum = crc32.Update(r.sum, castagnoli, p[:n])
	if n == len(p) {
		err = nil
	}
	r.err = err
	return n, err
}

// stream begins to read a frame. Damage that shows, then and later, is a *store.CorruptError.
func (st *Store) stream(f frameRef) (s *frameStream, err error) {
	p, err := st.packs.acquire(f.pack)
	if err == nil {
		if err = checkSizes(f, p.file); err != nil {
			st.packs.release(p)
		}
	}
	if err != nil {
		return nil, st.unreadable(f, err)
	}
	src := &payloadReader{file: p.file, at: f.offset + int64(f.start), end: f.end()}
	s = &frameStream{st: st, f: f, pack: p, src: src, raw: src, done: func() error { return nil }}
	if f.codec == codecZstd {
		z, err := st.decoder.Stream(src)
		if err != nil {
			st.packs.release(p)
			return nil, s.because(err)
		}
		s.raw, s.done = z, z.Close
	}
	s.raw = io.LimitReader(s.raw, int64(f.raw)+1)
	return s, nil
}

// Read implements io.Reader. It ends with io.EOF where the payload does, too early or not.
func (s *frameStream) Read(p []byte) (int, error) {
	n, err := s.raw.Read(p)
	if err != nil && err != io.EOF {
		err = s.because(err)
	}
	return n, err
}

// because is why nothing more can be read.
func (s *frameStream) because(err error) error {
	if s.src.err != nil {
		return s.st.unreadable(s.f, s.src.err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = zstd.ErrSize
	}
	return s.st.corrupt(s.f, fmt.Errorf("frame: %w", err))
}

// fill reads all of p, and skip passes over n bytes.
func (s *frameStream) fill(p []byte) error {
	if _, err := io.ReadFull(s, p); err != nil {
		return s.short(err)
	}
	return nil
}

func (s *frameStream) skip(n int64) error {
	if _, err := io.CopyN(io.Discard, s, n); err != nil {
		return s.short(err)
	}
	return nil
}

func (s *frameStream) short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return s.because(err)
	}
	return err
}

// end reads what is left of the payload, which must be nothing when it is decoded, and returns the checksum of all.
func (s *frameStream) end() (sum uint32, err error) {
	if n, err := io.Copy(io.Discard, s); err != nil {
		return 0, err
	} else if n > 0 {
		return 0, s.because(io.EOF)
	}
	if _, err := io.Copy(io.Discard, s.src); err != nil {
		return 0, s.because(err)
	}
	return s.src.sum, nil
}

// Close releases the pack.
func (s *frameStream) Close() error {
	s.st.packs.release(s.pack)
	return s.done()
}

// readPiece reads the bytes at l out of a frame that is too large to be decoded as a whole.
func (st *Store) readPiece(l location) ([]byte, error) {
	s, err := st.stream(l.frame)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.skip(int64(l.offset)); err != nil {
		return nil, err
	}
	data := make([]byte, l.size)
	return data, s.fill(data)
}

// eachChunk yields the chunks of the list at l or, if it is not written yet, in data. A long one is read as it is needed.
// An error is the last that is yielded, and a *store.CorruptError where the list is damaged.
func (st *Store) eachChunk(l location, data []byte) iter.Seq2[store.Chunk, error] {
	return func(yield func(store.Chunk, error) bool) {
		err := checkListSize(int64(l.size))
		switch {
		case err == nil && data == nil && l.large() && l.offset > maxContents:
			err = errOutside
			fallthrough
		case err != nil:
			err = st.corrupt(l.frame, err)
		case data != nil:
			_, err = st.yieldChunks(l, data, yield)
		case l.size <= maxContents:
			err = st.use(l, func(data []byte) error {
				_, err := st.yieldChunks(l, data, yield)
				return err
			})
		default:
			err = st.streamChunks(l, yield)
		}
		if err != nil {
			yield(store.Chunk{}, err)
		}
	}
}

// yieldChunks yields the chunks in a part of a list, and reports whether more are wanted.
func (st *Store) yieldChunks(l location, part []byte, yield func(store.Chunk, error) bool) (more bool, err error) {
	for ; len(part) > 0; part = part[itemLen:] {
		c, err := parseChunk(part)
		if err != nil {
			return false, st.corrupt(l.frame, err)
		}
		if !yield(c, nil) {
			return false, nil
		}
	}
	return true, nil
}

// streamChunks yields the chunks of a list that is not to be in memory.
func (st *Store) streamChunks(l location, yield func(store.Chunk, error) bool) error {
	s, err := st.stream(l.frame)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.skip(int64(l.offset)); err != nil {
		return err
	}
	part := make([]byte, 16<<10*itemLen)
	for left := int64(l.size); left > 0; left -= int64(len(part)) {
		part = part[:min(left, int64(len(part)))]
		if err := s.fill(part); err != nil {
			return err
		}
		if more, err := st.yieldChunks(l, part, yield); !more || err != nil {
			return err
		}
	}
	return nil
}
