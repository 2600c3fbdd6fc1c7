package ingest

import (
	"encoding/binary"

	"castar/store"
)

func (r *record) encode() (b [3*8 + 2*8 + 4 + 2 + store.DigestSize]byte) {
	be := binary.BigEndian
	be.PutUint64(b[0:], r.size)
	be.PutUint64(b[8:], uint64(r.mtime))
	be.PutUint64(b[16:], uint64(r.ctime))
	be.PutUint64(b[24:], r.ino)
	be.PutUint64(b[32:], r.mount)
	be.PutUint32(b[40:], r.boot)
	be.PutUint16(b[44:], r.day)
	copy(b[46:], r.digest[:])
	return b
}

func decodeRecord(b []byte) record {
	be := binary.BigEndian
	return record{
		size: be.Uint64(b[0:]), mtime: int64(be.Uint64(b[8:])), ctime: int64(be.Uint64(b[16:])),
		ino: be.Uint64(b[24:]), mount: be.Uint64(b[32:]), boot: be.Uint32(b[40:]), day: be.Uint16(b[44:]),
		digest: store.Digest(b[46:]),
	}
}

// on returns the key in a cache file for the file with the key k on v. Files of one directory are beside each other, because
// they are asked for one after the other. The bytes that say which directory are mixed, because a table finds keys fast if
// they are spread evenly.
func (k fileKey) on(v *volume, st *stat) (key [16]byte) {
	dir := k.dir
	if v.holds(st) {
		dir.lo ^= v.id
	}
	dir.hi = (dir.hi ^ dir.lo) * 0x9e3779b97f4a7c15 // Fibonacci hashing: 2^64 over the golden ratio
	binary.BigEndian.PutUint64(key[0:], dir.hi^dir.hi>>32)
	binary.BigEndian.PutUint64(key[8:], k.path.lo)
	return key
}
