package ingest

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"time"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// volume is a mounted file system, and how far it can be believed that a file on it is unchanged.
//
// On a native one the kernel stamps every change of a file with its clock, as ctime, which programs cannot set. While it
// stays mounted, a file of one inode number, size, mtime and ctime is therefore unchanged. mount tells such a time from
// all others.
//
// A file system that was mounted anew may be another image at the same place, with the inode numbers and the times of
// the first: who builds images clamps their times, and a copied image has the UUID of its original. Within a boot such
// files are read. After a boot, when every disk was mounted anew, the ctime has to prove it alone. It can if it has a
// fraction of a second: that is the instant of a change, and no builder's choice, for times are clamped to whole seconds
// (SOURCE_DATE_EPOCH). Then another file of the same path, inode number, size, mtime and ctime is a copy, made with all
// of its metadata, in which nothing changed. So an unchanged disk is not read again after each boot.
type volume struct {
	dev      uint64
	native   bool   // it keeps ctime and lasting inode numbers
	believed bool   // the user says that size, mtime and ctime are proof enough
	id       uint64 // made of what is written in it, so that file systems that take turns at one place have own records
	mount    uint64 // of its being mounted; 0 if not known
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

// holds reports whether v is native and has the file of st on it.
func (v *volume) holds(st *stat) bool { return v.is(st.dev) && v.native }

// proves reports whether the file that r was made of, found with the same size, mtime and ctime on v, is unchanged. st is
// what it is now.
func (v *volume) proves(r *record, st *stat) bool {
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

// pathKey is the FNV-1a hash, of 128 bits, of an absolute path: a directory's is continued for what is in it. Paths with
// one key share a record, which holds for one of them at most, as their files have other inode numbers.
type pathKey struct{ hi, lo uint64 }

// keyOf returns the key of an absolute path, which is clean.
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

// add multiplies by the prime 2^88 + 0x13b.
func (k pathKey) add(b byte) pathKey {
	lo := k.lo ^ uint64(b)
	carry, low := bits.Mul64(lo, 0x13b)
	return pathKey{carry + k.hi*0x13b + lo<<24, low}
}

// isElsewhere reports whether an entry that is no directory is mounted on its own, from another file system than that of
// the root.
func (w *walker) isElsewhere(dirfd int, name string, st *stat) bool {
	return st.dev != w.device && st.kind() != unix.S_IFDIR && posix.IsMountRoot(dirfd, name)
}
