package pack

import (
	"errors"
	"fmt"
	"io"

	"castar/store/durable"
)

// frameStream reads the decoded payload of a frame from its beginning. It is for one goroutine, and must be closed.
type frameStream struct {
	files *Files
	f     Frame
	pack  *openFile
	src   *payloadReader
	raw   io.Reader // what src decodes to
	close func() error
}

// payloadReader reads the stored payload of a frame, and adds up its checksum.
type payloadReader struct {
	file    durable.File
	at, end int64
	sum     uint32
	err     error // other than the end
}

func newPayloadReader(file durable.File, f Frame) *payloadReader {
	return &payloadReader{file: file, at: f.Offset + int64(f.Start), end: f.End()}
}

func (r *payloadReader) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), r.end-r.at)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p, r.at)
	r.at += int64(n)
	r.sum = ExtendChecksum(r.sum, p[:n])
	if n == len(p) {
		err = nil
	}
	r.err = err
	return n, err
}

// stream begins to read a frame. Damage that shows, then and later, is a *store.CorruptError.
func (p *Files) stream(f Frame) (s *frameStream, err error) {
	pack, err := p.acquire(f)
	if err != nil {
		return nil, err
	}
	src := newPayloadReader(pack, f)
	s = &frameStream{files: p, f: f, pack: pack, src: src}
	raw, err := p.Coders.stream(f.Codec, src)
	if err != nil {
		p.open.release(pack)
		return nil, s.because(err)
	}
	s.raw, s.close = io.LimitReader(raw, int64(f.Raw)+1), raw.Close
	return s, nil
}

// Read implements io.Reader. It ends with io.EOF when the payload ends, too early or not.
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
		return s.files.Unreadable(s.f, s.src.err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errShortPayload
	}
	return s.files.Corrupt(s.f, fmt.Errorf("frame: %w", err))
}

// skip passes over n bytes.
func (s *frameStream) skip(n int64) error {
	_, err := io.CopyN(io.Discard, s, n)
	return s.short(err)
}

// short returns why a read has ended, if it was before all was read.
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
	s.files.open.release(s.pack)
	return s.close()
}

// pieces reads n bytes and calls use with them, piece by piece. No piece ends within a chunk of a list that begins there.
func (s *frameStream) pieces(n uint32, use func(part []byte) error) error {
	part := make([]byte, min(n, 16<<10*ItemLen))
	for left := int64(n); left > 0; left -= int64(len(part)) {
		part = part[:min(left, int64(len(part)))]
		if _, err := io.ReadFull(s, part); err != nil {
			return s.short(err)
		}
		if err := use(part); err != nil {
			return err
		}
	}
	return nil
}

// streamPieces calls use with the bytes at l in a streamed frame, piece by piece.
func (p *Files) streamPieces(l Location, use func(part []byte) error) error {
	s, err := p.stream(l.Frame)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.skip(int64(l.Offset)); err != nil {
		return err
	}
	return s.pieces(l.Size, use)
}
