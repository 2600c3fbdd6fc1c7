// Package durable is the interface between a store on disk and the file system. Dir implements it by the operating
// system. Package crashfs implements it by a model that tests can crash at any operation.
//
// Only what was synced survives a power cut. Sync of a file keeps its bytes and length; SyncDir of the folder keeps the
// file's name; SyncDir of the folder above keeps the folder's name. fsync(2) says that calling it on a file "does not
// necessarily ensure that the entry in the directory containing the file has also reached disk". Everything else may
// survive whole, in part or not at all, in any order.
package durable

import (
	"io"
	"io/fs"

	"castar/store"
)

// ErrLocked says that another handle, in this process or another, holds a conflicting lock.
var ErrLocked = store.ErrLocked

// FS is the folder of one store. Names are slash-separated, relative to the folder, and valid for fs.ValidPath; "." is
// the folder itself. Any other name is an error that is fs.ErrInvalid. No name leads out of the folder, whatever
// symbolic links are in it. Errors name the path, and match fs.ErrNotExist, fs.ErrExist or a syscall.Errno if that is
// the reason. All methods may be called concurrently, and several FS may use the same folder.
type FS interface {
	// Open opens a regular file for reading: open(2) with O_RDONLY. Anything but a regular file is an error.
	Open(name string) (File, error)
	// Create makes an empty file and opens it for reading and writing: open(2) with O_RDWR|O_CREAT|O_EXCL and mode 0600
	// less umask. The error is fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Append opens a regular file so that each Write goes to its end, and makes it if it is missing: open(2) with
	// O_WRONLY|O_APPEND|O_CREAT and mode 0600 less umask. Its ReadAt, WriteAt and Map return errors.
	Append(name string) (File, error)
	// Mkdir makes an empty folder: mkdir(2) with mode 0700 less umask. The error is fs.ErrExist if the name is taken.
	Mkdir(name string) error
	// Rename moves a file or folder: rename(2). A file replaces a file that has the new name. A reader of the new name
	// sees the old file or the new one, even after a crash. The error is fs.ErrExist if a folder has the new name. The
	// rename is durable once both folders are synced; if only the folder of the new name is, the old name may come back
	// too.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty folder: unlink(2), rmdir(2). Files that are open or mapped stay usable.
	Remove(name string) error
	// ReadDir returns the entries of a folder in order of their names: getdents(2).
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a name: lstat(2). It does not follow a symbolic link in the last element.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the creates, renames and removes in a folder durable: fsync(2) of the folder. It does not sync the
	// folder's own name or the contents of its files. After an error all those changes are in doubt, and another call
	// does not settle them.
	SyncDir(name string) error
	// Lock takes an advisory lock on a file, and makes the file if it is missing: flock(2) with LOCK_NB. It never
	// waits: the error is ErrLocked if another handle holds a conflicting lock. A file that cannot be written is opened
	// read-only, so a store on read-only media can be locked for reading.
	Lock(name string, exclusive bool) (Lock, error)
	// Free returns how many bytes more the file system takes from this user, as far as it says so: statfs(2). Quotas are
	// not in it. It is for messages: only a write shows whether something fits.
	Free() (int64, error)
	// Path returns the name as messages should show it.
	Path(name string) string
}

// Far is an FS at the other end of a network, where each call takes a round trip.
type Far interface {
	FS
	// Send begins to move a file that Create made, and that does not change any more, to the place that a Rename will give
	// it. It waits while many files are on their way. Errors show at the Rename, or at what commits it.
	Send(tmp, name string)
	// OpenWhole is Open for a file most of which will be read, in any order.
	OpenWhole(name string) (File, error)
}

// Sharer is a File of the operating system. Its file system may be able to let files share blocks.
type Sharer interface {
	File
	store.Cloneable
	// Shares reports whether the file system can let files share blocks. The file must be empty.
	Shares() bool
}

// Lock is a lock that is held. The operating system drops it when the process ends for any reason.
type Lock interface {
	// Shared turns an exclusive lock into a shared one. flock(2) does not promise that this is atomic: if another
	// handle took the lock in between, the error is ErrLocked and the lock is lost.
	Shared() error
	// Close releases the lock. The file stays.
	Close() error
}

// File is an open file. ReadAt and WriteAt may be called concurrently. Reads and writes are complete or return an
// error, as package io says. A failed write may have written a part.
type File interface {
	io.ReaderAt // pread(2)
	io.WriterAt // pwrite(2)
	io.Writer   // write(2); after Append each call writes at the current end of the file
	io.Closer   // close(2); check its error, because some file systems report a lost write only there

	// Size returns the file's length in bytes: fstat(2).
	Size() (int64, error)
	// Sync makes the contents and length durable, but not the name: fsync(2), on darwin fcntl(2) with F_FULLFSYNC.
	// After an error, data written since the last Sync may be lost even if a later Sync succeeds, because kernels mark
	// the pages clean (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). Never retry it.
	Sync() error
	// Map maps the whole file, at its current length, into memory: mmap(2) with PROT_READ and MAP_SHARED. It returns
	// nil for an empty file. The map outlives Close, and must be passed to Unmap. Writing to the map kills the process,
	// and so does reading past the end of a file that became shorter.
	Map() ([]byte, error)
	// Evict frees the memory of a map that will hardly be read again: madvise(2) with MADV_DONTNEED. data is the very
	// slice that Map returned. The map stays valid; later reads load from the file again.
	Evict(data []byte)
	// Unmap ends a map: munmap(2). data is the very slice that Map returned. Nil does nothing.
	Unmap(data []byte) error
}
