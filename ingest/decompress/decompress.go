// Package decompress reads compressed streams. It finds out by the first bytes how a stream is compressed.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow is the largest window or dictionary that a stream may ask for, in bytes. It is what zstd itself takes unless
// told otherwise, and more than any level of xz uses.
const maxWindow = 128 << 20

// format is a way to compress. If open is nil, it is known, but not supported.
type format struct {
	name, magic string
	open        func(*bufio.Reader) (io.ReadCloser, error)
}

// formats returns all formats whose first bytes are known.
func formats() []format {
	return []format{
		{"gzip", "\x1f\x8b", openGzip},
		{"zstd", "\x28\xb5\x2f\xfd", openZstd},
		{"bzip2", "BZh", func(in *bufio.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(in)), nil }},
		{"xz", "\xfd7zXZ\x00", openXZ},
		{"lz4", "\x04\x22\x4d\x18", nil},
		{"lzip", "LZIP", nil},
		{"lzop", "\x89LZO", nil},
		{"compress", "\x1f\x9d", nil},
	}
}

// NewReader returns the plain bytes of r, which may be compressed by gzip, zstd, bzip2 or xz, or not at all. Several
// compressed streams one after the other are one stream. Zeros after them are ignored; anything else there is an error,
// as is a stream that is cut short. Close releases memory, and does not close r.
func NewReader(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	for _, f := range formats() {
		if !bytes.HasPrefix(head, []byte(f.magic)) && !(f.name == "zstd" && isSkippable(head)) {
			continue
		}
		if f.open == nil {
			return nil, fmt.Errorf("compressed by %s, which is not supported: decompress it first", f.name)
		}
		plain, err := f.open(in)
		if err != nil {
			return nil, named(f.name, err)
		}
		return &reader{ReadCloser: plain, name: f.name}, nil
	}
	return io.NopCloser(in), nil
}

// isSkippable reports whether a stream begins with a skippable frame of zstd, as those of pzstd do.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18
}

// reader says in its errors how the stream is compressed.
type reader struct {
	io.ReadCloser
	name string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, named(r.name, err)
}

func named(name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// gzipReader reads the members of a gzip file. Package gzip would take zeros after them for damage.
type gzipReader struct {
	*gzip.Reader
	in *bufio.Reader
}

func openGzip(in *bufio.Reader) (io.ReadCloser, error) {
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	return &gzipReader{r, in}, nil
}

func (g *gzipReader) Read(p []byte) (n int, err error) {
	for {
		if n, err = g.Reader.Read(p); err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil // its end comes next
		}
		if b, err := g.in.Peek(1); err != nil || b[0] == 0 {
			return 0, onlyZeros(g.in)
		}
		if err := g.Reset(g.in); err != nil {
			return 0, errors.New("something that is not gzip follows")
		}
		g.Multistream(false)
	}
}

// onlyZeros returns io.EOF if nothing but zeros is left.
func onlyZeros(r io.Reader) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("something that is not gzip follows")
		}
		if err != nil {
			return err
		}
	}
}

func openZstd(in *bufio.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// xzReader checks that the last stream has its end. Package xz takes a stream that ends after a block for complete.
type xzReader struct {
	*xz.Reader
	in *lastBytes
}

func openXZ(in *bufio.Reader) (io.ReadCloser, error) {
	if err := checkXZ(in); err != nil {
		return nil, err
	}
	last := &lastBytes{r: in}
	r, err := xz.NewReader(last)
	return io.NopCloser(&xzReader{r, last}), err
}

func (x *xzReader) Read(p []byte) (int, error) {
	n, err := x.Reader.Read(p)
	if err == io.EOF && string(x.in.last) != "YZ" { // the end of a stream footer
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// lastBytes remembers the last two bytes that were read, without zeros at the end.
type lastBytes struct {
	r    io.Reader
	last []byte
}

func (l *lastBytes) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if b := bytes.TrimRight(p[:n], "\x00"); len(b) > 0 {
		l.last = append(l.last, b[max(0, len(b)-2):]...)
		l.last = l.last[max(0, len(l.last)-2):]
	}
	return n, err
}

// checkXZ looks at the header of the first block, and refuses a dictionary that is too large. Its layout is that of the
// .xz file format, section 3.1.
func checkXZ(in *bufio.Reader) error {
	const streamHeader = 12
	head, _ := in.Peek(streamHeader + 1024) // a block header has at most 1024 bytes
	if len(head) < streamHeader+2 || head[streamHeader] == 0 {
		return nil // no block
	}
	flags, rest := head[streamHeader+1], head[streamHeader+2:]
	for _, present := range []byte{0x40, 0x80} { // sizes
		if flags&present == 0 {
			continue
		}
		for len(rest) > 0 && rest[0]&0x80 != 0 {
			rest = rest[1:]
		}
		rest = rest[min(1, len(rest)):]
	}
	const lzma2 = 0x21
	if len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return nil // the reader refuses it
	}
	if bits := rest[2]; bits > 40 || (2|uint64(bits&1))<<(bits/2+11) > maxWindow {
		return fmt.Errorf("the dictionary has more than %d MiB", maxWindow>>20)
	}
	return nil
}
