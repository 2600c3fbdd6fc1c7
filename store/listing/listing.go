// Package listing writes and reads what castore's model does not keep of a tree: permissions, owners, times, hard
// links, holes and extended attributes. A listing is an mtree(5) text, which mtree and bsdtar can read as well. It is
// stored as a blob beside the root. It is never part of the root's digest, so nothing proves that it fits the tree: a
// reader believes it only about entries that the tree has.
//
// Each directory has a block of lines: the owner, which the lines of the block share unless they say otherwise; the
// directory; its files and symbolic links, in the order of their names. Then come the blocks of its directories, in the
// order of their names, and a line with two dots.
//
//	#mtree
//	/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
//	. type=dir mode=0755 time=1790000000.123456789
//	notes time=1790000000.000000000 size=12
//	run mode=0755 time=1790000000.000000000 size=3
//	/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
//	sub type=dir mode=0700 time=1790000000.000000000
//	to type=link mode=0777 time=1790000000.000000000 link=../notes
//	..
//	..
//
// So its length grows with the number of entries, however deep they are, and a directory that moves is the same text
// elsewhere. The root may be a file or a symbolic link: then there is one block of two lines, and no line with dots.
//
// These keywords have the meaning that mtree(5) gives them: type, uid, gid, uname, gname, mode, time, size, link. Others
// follow the use of other programs:
//
//	nlink=2 inode=7          all files with this inode, and this resdevice, are the same file
//	resdevice=9              left out if it is 0, as for all files on the file system of the root
//	tags=allocated-4096      the file has holes, and took 4096 bytes of the disk
//	xattr.user.x=BASE64      an extended attribute
//
// In names and values, every byte but letters, digits and common punctuation is a backslash and three octal digits. A
// reader passes over keywords that it does not know.
package listing

import (
	"errors"
	"fmt"

	"castar/store"
)

// Entry is what a listing says of one entry of a tree. Other packages call that its facts.
type Entry struct {
	Kind        store.Kind
	Mode        uint32 // the permission bits, with setuid, setgid and sticky: 0 to 07777
	UID, GID    uint32
	User, Group string // their names, or "" if they had none
	Seconds     int64  // of the modification time, since 1970
	Nanoseconds uint32
	Size        uint64 // of a file, in bytes
	Target      string // of a symbolic link
	Links       uint64 // if not 0, how many names the file had; all with its Inode and Device are the same file
	Inode       uint64
	Device      uint64  // 0 is the device of the root
	Sparse      bool    // the file has holes
	Allocated   uint64  // how many bytes of the disk a file with holes took
	Xattrs      []Xattr // in the order of their names
}

// Contradicts returns why e cannot be about the node n, or nil: a listing may lie.
func (e *Entry) Contradicts(n *store.Node) error {
	switch {
	case e.Kind != n.Kind:
		return fmt.Errorf("the listing says that it is a %s", e.Kind)
	case n.Kind == store.KindFile && e.Size != n.Size:
		return fmt.Errorf("the listing says that it has %d bytes", e.Size)
	case n.Kind == store.KindSymlink && e.Target != n.Target:
		return errors.New("the listing says that it points elsewhere")
	}
	return nil
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

const (
	// modeMask is the bits that Entry.Mode may have.
	modeMask = 0o7777
	// fileMode is the mode of a file whose line does not say it.
	fileMode = 0o644
)

const (
	// Header is the first line of every listing.
	Header = "#mtree\n"
	// Up is the line that ends a directory, after its block and the blocks below it.
	Up = "..\n"
)
