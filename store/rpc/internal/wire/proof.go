package wire

import (
	"encoding/binary"
	"errors"
	"io"

	"lukechampine.com/blake3/bao"

	"castar/store"
)

const (
	// proofGroup is the chunk group of proofs: 1 KiB shifted by 4 is 16 KiB.
	groupShift = 4
	ProofGroup = 1 << (10 + groupShift)
	// maxProof bounds the proofs that a server sends, so that a Stat stays below what receivers take by default. It is
	// enough for a blob of 895 MiB.
	maxProof = 3500 << 10
)

// proofSize returns the length of the proof of a blob of that size, which must be more than a group, or 0 where it would
// be too long to be sent.
func proofSize(size uint64) int {
	groups := (size + ProofGroup - 1) / ProofGroup
	if n := 8 + 64*(groups-1); n <= maxProof {
		return int(n)
	}
	return 0
}

// prove returns the proof of a blob, or nil where it has none.
func Prove(blob store.Blob, d store.Digest) ([]byte, error) {
	size := blob.Size()
	if size <= ProofGroup || proofSize(size) == 0 {
		return nil, nil
	}
	// Reading through WriteTo is the fast and checked way.
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := blob.WriteTo(w)
		w.CloseWithError(err)
	}()
	defer func() {
		r.Close()
		<-done // the blob is not for concurrent use
	}()
	proof := make(fixed, proofSize(size))
	root, err := bao.Encode(proof, r, int64(size), groupShift, true)
	if err != nil {
		return nil, err
	}
	if root != d {
		return nil, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return proof, nil
}

// fixed is a buffer of a fixed length as an io.WriterAt.
type fixed []byte

var errPastEnd = errors.New("write past the end")

func (b fixed) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) || len(p) > len(b)-int(off) {
		return 0, errPastEnd
	}
	return copy(b[off:], p), nil
}

// provenSize returns the length of the blob that a proof claims to be of, and whether the proof has the right form.
func ProvenSize(proof []byte) (uint64, bool) {
	if len(proof) < 8 {
		return 0, false
	}
	size := binary.LittleEndian.Uint64(proof)
	return size, size > ProofGroup && proofSize(size) == len(proof)
}

// proven reports whether data, which begins and ends at groups or the end of the blob, stands at that offset of d.
func Proven(proof, data []byte, offset uint64, d store.Digest) bool {
	return bao.VerifyChunk(data, proof, groupShift, offset, d)
}
