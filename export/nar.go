package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"castar/store"
)

// narEncoder writes NARs. A NAR is strings, each with its length before it and zeros after it, up to a multiple of eight
// bytes. It has no paths: what is in a directory is between its beginning and its end.
type narEncoder struct{}

func (narEncoder) end(uint64) []byte { return nil }

func appendNAR(b []byte, words ...string) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(w)))
		b = append(b, w...)
		b = append(b, make([]byte, -len(w)&7)...)
	}
	return b
}

// narEntry appends the beginning of a node, with its name unless it is the root, where the archive begins.
func narEntry(b []byte, ev *archiveEvent) []byte {
	if ev.root {
		b = appendNAR(b, "nix-archive-1")
	} else {
		b = appendNAR(b, "entry", "(", "name", ev.node.Name, "node")
	}
	return appendNAR(b, "(", "type")
}

func narEnd(b []byte, ev *archiveEvent) []byte {
	if !ev.root {
		b = appendNAR(b, ")")
	}
	return appendNAR(b, ")")
}

func (narEncoder) plain(p *parcel, ev *archiveEvent) error {
	switch ev.kind {
	case eventEnter:
		p.buf = appendNAR(narEntry(p.buf, ev), "directory")
	case eventSymlink:
		p.buf = narEnd(appendNAR(narEntry(p.buf, ev), "symlink", "target", ev.node.Target), ev)
	case eventLeave:
		p.buf = narEnd(p.buf, ev)
	}
	return nil
}

func (narEncoder) before(p *parcel, ev *archiveEvent) error {
	p.buf = appendNAR(narEntry(p.buf, ev), "regular")
	if ev.node.Executable {
		p.buf = appendNAR(p.buf, "executable", "")
	}
	p.buf = binary.LittleEndian.AppendUint64(appendNAR(p.buf, "contents"), ev.node.Size)
	return nil
}

func (narEncoder) after(p *parcel, ev *archiveEvent, _ int) error {
	p.buf = narEnd(append(p.buf, make([]byte, int(-ev.node.Size&7))...), ev)
	return nil
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
