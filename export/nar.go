package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"castar/store"
)

// narEncoder writes NARs. A NAR is strings, each with its length before it and zeros after it, up to a multiple of eight
// bytes. It has no paths: what is in a directory is between its beginning and its end.
type narEncoder struct{}

func (narEncoder) begin() []byte         { return appendNAR(nil, "nix-archive-1") }
func (narEncoder) end(uint64) []byte     { return nil }
func (narEncoder) wrote(*parcel, uint64) {}

// appendNAR appends strings.
func appendNAR(b []byte, words ...string) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(w)))
		b = append(b, w...)
		b = append(b, make([]byte, -len(w)&7)...)
	}
	return b
}

// narEntry appends the beginning of a node, with its name unless it is the root.
func narEntry(b []byte, it *item) []byte {
	if !it.root {
		b = appendNAR(b, "entry", "(", "name", it.node.Name, "node")
	}
	return appendNAR(b, "(", "type")
}

// narEnd appends the end of a node.
func narEnd(b []byte, it *item) []byte {
	if !it.root {
		b = appendNAR(b, ")")
	}
	return appendNAR(b, ")")
}

func (narEncoder) plain(p *parcel, it *item) error {
	switch it.step {
	case stepEnter:
		p.buf = appendNAR(narEntry(p.buf, it), "directory")
	case stepSymlink:
		p.buf = narEnd(appendNAR(narEntry(p.buf, it), "symlink", "target", it.node.Target), it)
	case stepLeave:
		p.buf = narEnd(p.buf, it)
	}
	return nil
}

func (narEncoder) before(p *parcel, it *item) error {
	p.buf = narFile(p.buf, it)
	return nil
}

// narFile appends what comes before the contents of a file.
func narFile(b []byte, it *item) []byte {
	b = appendNAR(narEntry(b, it), "regular")
	if it.node.Executable {
		b = appendNAR(b, "executable", "")
	}
	return binary.LittleEndian.AppendUint64(appendNAR(b, "contents"), it.node.Size)
}

func (narEncoder) after(p *parcel, it *item, _ int) error {
	p.buf = narFileEnd(p.buf, it)
	return nil
}

// narFileEnd appends what comes after the contents of a file.
func narFileEnd(b []byte, it *item) []byte {
	return narEnd(append(b, make([]byte, int(-it.node.Size&7))...), it)
}

func (narEncoder) long(out *offsetWriter, it *item, contents func(io.Writer) error) error {
	return writeAround(out, narFile(nil, it), contents, narFileEnd(nil, it))
}

// NARHash returns the SHA-256 hash of the NAR of root, by which Nix knows it, and its size in bytes. It reads and checks
// everything that root reaches. Of o, it uses Jobs and Progress.
func NARHash(ctx context.Context, st *store.Store, root store.Node, o ArchiveOptions) (sum [sha256.Size]byte, size uint64, err error) {
	o.Format = FormatNAR
	h := sha256.New()
	out := &offsetWriter{w: h}
	_, err = Archive(ctx, st, root, out, o)
	return [sha256.Size]byte(h.Sum(nil)), out.n, err
}
