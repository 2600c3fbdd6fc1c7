package rpc

import (
	"context"
	"fmt"
	"io"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// provenWindow is how much is read at once with a proof: several groups.
const provenWindow = 16 * wire.ProofGroup

// ranged implements store.Blob for a long blob. It fetches the parts that are read.
type ranged struct {
	c      *client
	ctx    context.Context
	digest store.Digest
	size   uint64
	src    source
	chunks *chunked // the same as src, or nil if the blob has no chunks
	proof  []byte   // nil: there is none, or it was not asked for
	asked  bool     // the server was asked for a proof

	hash    store.Hasher // of the first hashed bytes, which were read in order
	hashed  uint64
	checked bool // the chunks make up the blob
	at      uint64
	data    []byte // the bytes at dataAt, checked
	dataAt  uint64
}

func (r *ranged) Size() uint64 { return r.size }

func (r *ranged) Close() error {
	r.src.close()
	r.data = nil
	return nil
}

func (r *ranged) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(r.at, r.size, offset, whence)
	if err == nil {
		r.at = at
	}
	return int64(at), err
}

func (r *ranged) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.at < r.dataAt || r.at-r.dataAt >= uint64(len(r.data)) {
		if err := r.load(); err != nil {
			return 0, fromStatus(err, r.digest)
		}
	}
	n := copy(p, r.data[r.at-r.dataAt:])
	r.at += uint64(n)
	return n, nil
}

// load fetches data that holds the byte at r.at.
func (r *ranged) load() error {
	r.data = nil
	if r.chunks != nil && !r.checked && r.at != r.hashed && !r.asked {
		if err := r.ask(); err != nil {
			return err
		}
	}
	if r.chunks != nil && r.proof == nil && !r.checked && r.at != r.hashed {
		if err := r.readThrough(); err != nil {
			return err
		}
	}
	if r.chunks != nil && (r.checked || r.at == r.hashed) {
		return r.loadChunk()
	}
	off := r.at - r.at%provenWindow
	data, err := r.src.readAt(off, int(min(provenWindow, r.size-off)))
	if err != nil {
		return err
	}
	if !wire.Proven(r.proof, data, off, r.digest) {
		return corrupt(r.digest, fmt.Errorf("bytes from %d: %w", off, store.ErrDigestMismatch))
	}
	r.data, r.dataAt = data, off
	return nil
}

// ask asks for a proof.
func (r *ranged) ask() error {
	size, proof, err := r.c.proof(r.ctx, r.digest)
	if err != nil {
		return err
	}
	if proof != nil && size != r.size {
		return corrupt(r.digest, fmt.Errorf("the chunks have %d bytes and the proof is for %d", r.size, size))
	}
	r.asked, r.proof = true, proof
	return nil
}

// readThrough reads all chunks. Without a proof only that shows that they make up the blob.
func (r *ranged) readThrough() error {
	var h store.Hasher
	for data, err := range r.chunks.ahead() {
		if err != nil {
			return err
		}
		h.Write(data)
	}
	return r.judge(&h)
}

// judge compares the hash of all chunks with the blob's digest.
func (r *ranged) judge(h *store.Hasher) error {
	if h.Sum() != r.digest {
		return corrupt(r.digest, fmt.Errorf("the chunks make up something else: %w", store.ErrDigestMismatch))
	}
	r.checked = true
	return nil
}

// loadChunk makes data the chunk at r.at. Before it passes on the last chunk of a blob read in order, it checks the blob.
func (r *ranged) loadChunk() error {
	i := r.chunks.find(r.at)
	data, err := r.chunks.get(i)
	if err != nil {
		return err
	}
	start := r.chunks.start(i)
	if start == r.hashed && !r.checked {
		r.hash.Write(data)
		r.hashed += uint64(len(data))
		if r.hashed == r.size {
			if err := r.judge(&r.hash); err != nil {
				return err
			}
		}
	}
	r.data, r.dataAt = data, start
	return nil
}

// WriteTo fetches several chunks at a time.
func (r *ranged) WriteTo(w io.Writer) (n int64, err error) {
	if r.chunks == nil || r.at != 0 {
		return io.Copy(w, struct{ io.Reader }{r})
	}
	var h store.Hasher
	for data, err := range r.chunks.ahead() {
		if err != nil {
			return n, fromStatus(err, r.digest)
		}
		h.Write(data)
		m, err := w.Write(data)
		n += int64(m)
		r.at += uint64(m)
		if err != nil {
			return n, err
		}
	}
	return n, r.judge(&h)
}
