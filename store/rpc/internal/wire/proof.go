package wire

import (
	"encoding/binary"
	"errors"

	"lukechampine.com/blake3/bao"

	"castar/store"
)

const (
	// groupShift makes groups of 16 KiB from the 1 KiB chunks of BLAKE3.
	groupShift = 4
	// ProofGroup is the length of a group, in bytes. A shorter blob has no proof.
	ProofGroup = 1 << (10 + groupShift)
	// maxProof is the length of the longest proof that a server sends. It keeps the answer below what receivers take by
	// default, and suffices for a blob of 895 MiB.
	maxProof = 3500 << 10
)

// proofSize returns the length of the proof of a blob that is longer than a group, or 0 if the proof is too long to send.
func proofSize(size uint64) int {
	groups := (size + ProofGroup - 1) / ProofGroup
	if n := 8 + 64*(groups-1); n <= maxProof {
		return int(n)
	}
	return 0
}

// Prove returns the proof of a blob (see package rpc), or nil if it is too short or too long for one.
func Prove(blob store.Blob, d store.Digest) ([]byte, error) {
	size := blob.Size()
	if size <= ProofGroup || proofSize(size) == 0 {
		return nil, nil
	}
	proof := make(fixed, proofSize(size))
	root, err := bao.Encode(proof, blob, int64(size), groupShift, true)
	if err != nil {
		return nil, err
	}
	if root != d {
		return nil, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return proof, nil
}

// fixed is an io.WriterAt of a fixed length.
type fixed []byte

var errPastEnd = errors.New("write past the end")

func (b fixed) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) || len(p) > len(b)-int(off) {
		return 0, errPastEnd
	}
	return copy(b[off:], p), nil
}

// ProvenSize returns the length of the blob that a proof claims to be for. ok reports whether the proof has the right
// form.
func ProvenSize(proof []byte) (size uint64, ok bool) {
	if len(proof) < 8 {
		return 0, false
	}
	size = binary.LittleEndian.Uint64(proof)
	return size, size > ProofGroup && proofSize(size) == len(proof)
}

// Proven reports whether a proof shows that data is at offset in the blob d. data must begin at a ProofGroup, and end at
// one or at the end of the blob.
func Proven(proof, data []byte, offset uint64, d store.Digest) bool {
	return bao.VerifyChunk(data, proof, groupShift, offset, d)
}
