package ingest

import (
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// bootID returns a name of this boot that no other boot of any machine has, or "".
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(id)
}

// native describes a type of file system that keeps ctime and lasting inode numbers.
type native struct {
	sysfs  string // the directory of /sys/fs with an entry for each mounted file system of the type, if there is one
	named  bool   // f_fsid is made from the UUID on the disk, not from a device number
	unique bool   // f_fsid is random for each mount
}

// nativeType describes the type with that magic number. The types that it does not know fall into three groups:
//
//   - FAT, exFAT, NTFS, FUSE, 9p, virtiofs, NFS and SMB choose inode numbers freely or do not keep ctime.
//   - squashfs, erofs, ISO 9660 and UDF have only the times that the builder of the image wrote.
//   - overlayfs and eCryptfs show files of other file systems, which may change underneath.
func nativeType(magic uint32) (native, bool) {
	switch magic {
	case unix.EXT4_SUPER_MAGIC: // and ext2 and ext3, which the kernel mounts as ext4
		return native{sysfs: "ext4", named: true}, true
	case unix.XFS_SUPER_MAGIC:
		return native{sysfs: "xfs"}, true
	case unix.F2FS_SUPER_MAGIC:
		return native{sysfs: "f2fs"}, true
	case unix.BTRFS_SUPER_MAGIC:
		return native{sysfs: "btrfs", named: true}, true
	case unix.TMPFS_MAGIC:
		return native{unique: true}, true
	case unix.BCACHEFS_SUPER_MAGIC, zfsMagic:
		return native{named: true}, true
	}
	return native{}, false
}

const zfsMagic = 0x2fc12fc1 // OpenZFS is not part of Linux

// identify describes the file system of an open directory or file on the device dev. isNative says that it keeps ctime
// and lasting inode numbers. name identifies the file system by what is written in it, or is "". mount differs from that
// of every other file system mounted since the boot, or is "" if the kernel does not tell.
func identify(fd int, dev uint64) (isNative bool, name, mount string) {
	var fs unix.Statfs_t
	if err := posix.Retry(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return false, "", ""
	}
	magic := uint32(fs.Type)
	n, ok := nativeType(magic)
	if !ok {
		return false, "", ""
	}
	id := fmt.Sprintf("%x %x", magic, fs.Fsid.Val)
	if n.named {
		name = id
	}
	if n.unique && fs.Fsid != (unix.Fsid{}) { // since Linux 5.13
		return true, id, id
	}
	if n.sysfs != "" {
		mount = sysfsMount(fd, n.sysfs, dev)
	}
	if mount == "" {
		mount = uniqueMount(fd)
	}
	return true, name, mount
}

// sysfsMount returns the inode number of the directory that sysfs has for a file system while that is mounted. sysfs gives
// no number twice. Unlike a mount ID, the number is the same for bind mounts and in other mount namespaces, such as those
// that systemd makes for each start of a service.
func sysfsMount(fd int, kind string, dev uint64) string {
	var name string
	if kind == "btrfs" { // its device numbers are not those of disks
		name = btrfsUUID(fd)
	} else if link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))); err == nil {
		name = filepath.Base(link)
	}
	path := filepath.Join("/sys/fs", kind, name)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if name == "" || unix.Statfs(path, &fs) != nil || uint32(fs.Type) != unix.SYSFS_MAGIC || unix.Stat(path, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%s %d", path, st.Ino)
}

// btrfsUUID returns the UUID of the btrfs of an open file, as sysfs spells it, or "".
func btrfsUUID(fd int) string {
	const getInfo = 0x8400941f // BTRFS_IOC_FS_INFO; a few processors have another number, and there this fails
	var info [1024]byte
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getInfo, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return ""
	}
	u := info[16:32]
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// uniqueMount returns the ID of the mount that an open file is on. No other mount has had it since the boot. It is "" if
// the kernel has no such IDs (before Linux 6.8).
func uniqueMount(fd int) string {
	var st unix.Statx_t
	err := posix.Retry(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID_UNIQUE, &st) })
	if err != nil || st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		return ""
	}
	return fmt.Sprintf("mount %d", st.Mnt_id)
}
