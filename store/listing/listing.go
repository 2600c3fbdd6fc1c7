// Package listing writes and reads what castore's model does not keep of a tree: permissions, owners, times, hard links,
// holes and extended attributes. A listing is an mtree(5) text, which mtree and bsdtar can read as well. It is stored as a
// blob beside the root. It is never part of the root's digest, so nothing proves that it fits the tree: a reader believes
// each entry only as far as the tree has it too.
//
// A listing is a sequence of lines. Those of a directory stand together: first a line with the owner of the directory,
// which the others share unless they say otherwise; then the directory; then its files and symbolic links, in the order of
// their names.
//
//	#mtree
//	/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
//	. type=dir mode=0755 time=1790000000.123456789
//	./notes time=1790000000.000000000 size=12
//	./run mode=0755 time=1790000000.000000000 size=3
//	/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
//	./sub type=dir mode=0700 time=1790000000.000000000
//	./sub/to type=link mode=0777 time=1790000000.000000000 link=../notes
//
// These keywords have the meaning that mtree(5) gives them: type, uid, gid, uname, gname, mode, time, size, link. Others
// follow the use of other programs:
//
//	nlink=2 inode=7          a file with the same inode is another name of this one; numbers count from 1 in each listing
//	tags=allocated-4096      the file has holes, and took 4096 bytes of the disk
//	xattr.user.x=BASE64      an extended attribute
//
// In names and values, every byte but letters, digits and common punctuation is a backslash and three octal digits. A
// reader passes over keywords that it does not know.
package listing

import "castar/store"

// Entry is what a listing says of one entry of a tree.
type Entry struct {
	Kind        store.Kind
	Mode        uint32 // the permission bits, with setuid, setgid and sticky: 0 to 07777
	UID, GID    uint32
	User, Group string // their names, or "" if they had none
	Seconds     int64  // of the modification time, since 1970
	Nanoseconds uint32
	Size        uint64  // of a file, in bytes
	Target      string  // of a symbolic link
	Link        uint64  // if not 0, all files with this number are the same file
	Links       uint64  // how many names such a file had
	Sparse      bool    // the file has holes
	Allocated   uint64  // how many bytes of the disk a file with holes took
	Xattrs      []Xattr // in the order of their names
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// modeMask is the bits that Entry.Mode may have.
const modeMask = 0o7777
