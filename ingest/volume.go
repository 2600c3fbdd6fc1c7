package ingest

import (
	"encoding/binary"
	"math/bits"
	"path/filepath"
	"strings"
	"time"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// volume is a mounted file system. It decides what proves that a file is unchanged.
//
// On a native file system the kernel stamps every change of a file with its clock, as ctime. Programs cannot set ctime.
// So while the file system stays mounted, a file with the same inode number, size, mtime and ctime is unchanged. The
// field mount identifies the time from mounting to unmounting.
//
// A file system that was mounted again may be another image, with the same inode numbers and times: builders of images
// clamp times, and a copied image has the UUID of the original. Within a boot, files of such a file system are read.
// After a boot every disk was mounted again, and the ctime alone must be the proof. A ctime with a fraction of a second
// is the instant of a real change, because builders clamp times to whole seconds (SOURCE_DATE_EPOCH). Another file with
// the same path, inode number, size, mtime and ctime is then a copy with all metadata, in which nothing changed. So an
// unchanged disk is not read again after each boot.
type volume struct {
	dev      uint64
	native   bool   // it keeps ctime and lasting inode numbers
	believed bool   // the user says that size, mtime and ctime are enough proof
	id       uint64 // from data on the disk, so that file systems mounted in turn at one path have their own records
	mount    uint64 // identifies the time since it was mounted; 0 if unknown
	boot     uint32 // 0 if mount is 0
}

// volumeOf returns the volume of an open directory or file.
func (w *walker) volumeOf(fd int) *volume {
	v := &volume{believed: w.o.TrustCache}
	var st stat
	if st.of(fd) != nil {
		return v
	}
	v.dev = st.dev
	native, name, mount := identify(fd, st.dev)
	v.native = native
	if name != "" {
		v.id = hashOf(name)
	}
	if boot := w.boot(); boot != "" && mount != "" {
		v.boot = uint32(hashOf(boot)) | 1
		v.mount = hashOf(boot+mount) | 1
	}
	return v
}

func hashOf(s string) uint64 {
	d := store.Sum([]byte(s))
	return binary.BigEndian.Uint64(d[:])
}

// is reports whether v has that device number.
func (v *volume) is(dev uint64) bool { return v != nil && v.dev == dev }

// holds reports whether v is native and the file of st is on it.
func (v *volume) holds(st *stat) bool { return v.is(st.dev) && v.native }

// proves reports whether the file of r on v is unchanged, given that st, which describes it now, has the size, mtime and
// ctime of r.
func (v *volume) proves(r *cacheEntry, st *stat) bool {
	switch {
	case !v.holds(st):
		return v.believed
	case r.ino != st.ino:
		return false
	case v.believed || v.mount != 0 && r.mount == v.mount:
		return true
	}
	return st.ctime%int64(time.Second) != 0 && (v.mount == 0 || r.boot != 0 && r.boot != v.boot)
}

// pathKey is the 128-bit FNV-1a hash of an absolute path. The key of an entry continues the hash of its directory. Two
// paths with the same key share a record. It matches at most one of them, because their files differ in inode number.
type pathKey struct{ hi, lo uint64 }

// keyOf returns the key of an absolute and clean path.
func keyOf(path string) pathKey {
	k := pathKey{0x6c62272e07bb0142, 0x62b821756295c58d}
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			k = k.child(name)
		}
	}
	return k
}

// child returns the key of an entry of the directory.
func (k pathKey) child(name string) pathKey {
	k = k.add('/')
	for i := range len(name) {
		k = k.add(name[i])
	}
	return k
}

// fileKey is what a cache knows a file by: the keys of its path, and of that of the directory that it is in.
type fileKey struct{ dir, path pathKey }

// fileKeyOf returns the key of an absolute and clean path.
func fileKeyOf(path string) fileKey { return fileKey{keyOf(filepath.Dir(path)), keyOf(path)} }

// add multiplies by the prime 2^88 + 0x13b.
func (k pathKey) add(b byte) pathKey {
	lo := k.lo ^ uint64(b)
	carry, low := bits.Mul64(lo, 0x13b)
	return pathKey{carry + k.hi*0x13b + lo<<24, low}
}

// isElsewhere reports whether an entry that is not a directory is itself mounted, from another file system than the
// root's.
func (w *walker) isElsewhere(dirfd int, name string, st *stat) bool {
	return st.dev != w.device && st.kind() != unix.S_IFDIR && posix.IsMountRoot(dirfd, name)
}
