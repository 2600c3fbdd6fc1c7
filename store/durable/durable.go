// Package durable is the seam through which a store on disk makes every file operation. Dir is the operating system;
// package crashfs is a model of it that tests crash at will.
//
// What survives a power cut is what was synced: the bytes and length of a file by its own Sync, its name by SyncDir of
// the folder that holds it, and that folder's name by SyncDir of the folder above (fsync(2): calling it on a file
// "does not necessarily ensure that the entry in the directory containing the file has also reached disk"). Everything
// else may survive whole, in part or not at all, in any order.
package durable

import (
	"io"
	"io/fs"

	"castar/store"
)

// ErrLocked says that another handle, in this process or another, holds a lock that excludes the one asked for.
var ErrLocked = store.ErrLocked

// FS is the folder of one store. Names are slash-separated, relative to it and valid for fs.ValidPath, "." being the
// folder itself; any other name is an error that is fs.ErrInvalid. No name leads out of the folder, whatever symbolic
// links are in it. Errors name the path, and are fs.ErrNotExist, fs.ErrExist or a syscall.Errno where those are the
// reason. All methods may be called concurrently, also by several FS of the same folder.
type FS interface {
	// Open opens a regular file to be read: open(2) with O_RDONLY. Anything but a regular file is an error.
	Open(name string) (File, error)
	// Create makes an empty file and opens it to be read and written: open(2) with O_RDWR|O_CREAT|O_EXCL and mode 0600
	// less umask. The error is fs.ErrExist where the name is taken.
	Create(name string) (File, error)
	// Append opens a regular file, made if it is missing, so that each Write goes to its end: open(2) with
	// O_WRONLY|O_APPEND|O_CREAT and mode 0600 less umask. ReadAt, WriteAt and Map of it are errors.
	Append(name string) (File, error)
	// Mkdir makes an empty folder: mkdir(2) with mode 0700 less umask. The error is fs.ErrExist where the name is taken.
	Mkdir(name string) error
	// Rename moves a file or folder: rename(2). A file replaces one that has the new name, and whoever looks at that
	// sees the old file or the new one, also after a crash. The error is fs.ErrExist where a folder has the new name. It
	// is durable once both folders were synced; where only the new name's was, the old name may come back as well.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty folder: unlink(2), rmdir(2). Files that are open or mapped stay usable.
	Remove(name string) error
	// ReadDir returns the entries of a folder in order of their names: getdents(2).
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a name, and does not follow a symbolic link in its last element: lstat(2).
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the creates, renames and removes in a folder durable: fsync(2) of the folder. It does not sync the
	// folder's own name, nor the contents of its files. An error leaves all of them in doubt; calling it again does not
	// settle it.
	SyncDir(name string) error
	// Lock takes an advisory lock on the whole of a file, made if it is missing: flock(2) with LOCK_NB. It never waits:
	// the error is ErrLocked where another handle holds a lock that excludes this one. The file is opened read-only
	// where it cannot be written, so that a store on read-only media can be locked for reading.
	Lock(name string, exclusive bool) (Lock, error)
	// Free returns how many bytes more the file system takes from this user, as far as it says so: statfs(2). Quotas are
	// not in it. It is for messages: whoever wants to know whether something fits writes it.
	Free() (int64, error)
	// Path returns the name as messages should show it.
	Path(name string) string
}

// Lock is a lock that is held. The operating system drops it when the process ends, however it ends.
type Lock interface {
	// Shared turns an exclusive lock into a shared one. flock(2) does not promise that this is atomic: where another
	// handle took the lock in between, the error is ErrLocked, and nothing is held any more.
	Shared() error
	// Close releases the lock. The file stays.
	Close() error
}

// File is an open file. ReadAt and WriteAt may be called concurrently. Reads and writes are whole or have an error, as
// package io says; a write that failed may have written a part.
type File interface {
	io.ReaderAt // pread(2)
	io.WriterAt // pwrite(2)
	io.Writer   // write(2); with Append each call goes to the end of the file as it then is
	io.Closer   // close(2), whose error is reported: some file systems report a lost write only there

	// Size returns the file's length in bytes: fstat(2).
	Size() (int64, error)
	// Sync makes the contents and length durable, not the name: fsync(2), on darwin fcntl(2) with F_FULLFSYNC.
	// After an error what was written since the last Sync may be lost even if a later Sync succeeds, because kernels
	// mark the pages clean (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). Never retry it.
	Sync() error
	// Map returns the whole file as it is now, read-only and in memory: mmap(2) with PROT_READ and MAP_SHARED. An empty
	// file is nil. The map outlives Close, and must be returned to Unmap. Reading past the end of a file that was since
	// made shorter kills the process, and so does writing to the map.
	Map() ([]byte, error)
	// Evict gives back the memory of a map that will hardly be read any more, given the very slice that Map returned:
	// madvise(2) with MADV_DONTNEED. It stays valid, and what is read after all comes from the file again.
	Evict(data []byte)
	// Unmap ends a map, given the very slice that Map returned: munmap(2). Nil does nothing.
	Unmap(data []byte) error
}
