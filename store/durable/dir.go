package durable

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// DirFS is a folder of the operating system. It keeps the folder open, so it follows the folder when that is moved.
// Names need not be UTF-8, because some are chosen by users.
type DirFS struct {
	root *os.Root
	path string
}

var _ FS = (*DirFS)(nil)

// Dir opens the folder at path. The error is fs.ErrNotExist if there is none.
func Dir(path string) (*DirFS, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fail(path, err)
	}
	return &DirFS{root: root, path: path}, nil
}

// Close closes the folder. Open files, maps and locks stay open.
func (d *DirFS) Close() error { return d.root.Close() }

// Path returns the name joined to the path that was given to Dir.
func (d *DirFS) Path(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// Open implements FS.
func (d *DirFS) Open(name string) (File, error) { return d.open(name, os.O_RDONLY) }

// Create implements FS.
func (d *DirFS) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Append implements FS.
func (d *DirFS) Append(name string) (File, error) {
	return d.open(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
}

// open opens a regular file. O_NONBLOCK keeps open(2) from blocking on a named pipe; regular files ignore it.
func (d *DirFS) open(name string, flag int) (File, error) {
	f, err := d.openFile(name, flag|syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
		if fi.IsDir() {
			err = syscall.EISDIR
		}
	}
	if err != nil {
		f.Close()
		return nil, fail(d.Path(name), err)
	}
	return &file{f: f, path: d.Path(name)}, nil
}

func (d *DirFS) openFile(name string, flag int) (f *os.File, err error) {
	err = d.on(name, func(name string) error {
		f, err = d.root.OpenFile(name, flag, 0o600)
		return err
	})
	return f, err
}

// Mkdir implements FS.
func (d *DirFS) Mkdir(name string) error {
	return d.on(name, func(name string) error { return d.root.Mkdir(name, 0o700) })
}

// Rename implements FS.
func (d *DirFS) Rename(oldname, newname string) error {
	if err := cmp.Or(d.valid(oldname), d.valid(newname)); err != nil {
		return err
	}
	return fail(d.Path(oldname)+" to "+d.Path(newname), d.root.Rename(oldname, newname))
}

// Remove implements FS.
func (d *DirFS) Remove(name string) error { return d.on(name, d.root.Remove) }

// ReadDir implements FS.
func (d *DirFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.openFile(name, os.O_RDONLY|syscall.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fail(d.Path(name), err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Stat implements FS.
func (d *DirFS) Stat(name string) (fi fs.FileInfo, err error) {
	err = d.on(name, func(name string) error {
		fi, err = d.root.Lstat(name)
		return err
	})
	return fi, err
}

// SyncDir implements FS.
func (d *DirFS) SyncDir(name string) error {
	f, err := d.openFile(name, os.O_RDONLY|syscall.O_DIRECTORY)
	if err != nil {
		return err
	}
	return fail(d.Path(name), cmp.Or(f.Sync(), f.Close()))
}

// Free implements FS.
func (d *DirFS) Free() (int64, error) {
	f, err := d.openFile(".", os.O_RDONLY|syscall.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fail(d.path, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < math.MaxInt64 {
		return int64(free), nil
	}
	return math.MaxInt64, nil
}

// Lock implements FS.
func (d *DirFS) Lock(name string, exclusive bool) (Lock, error) {
	f, err := d.openFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		r, rerr := d.openFile(name, os.O_RDONLY|syscall.O_NONBLOCK)
		if rerr == nil {
			f, err = r, nil
		}
	}
	if err != nil {
		return nil, err
	}
	l := &lock{f: f, path: d.Path(name)}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	if err := l.flock(how); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// on makes a call about a name, if that is valid.
func (d *DirFS) on(name string, call func(name string) error) error {
	if err := d.valid(name); err != nil {
		return err
	}
	return fail(d.Path(name), call(name))
}

func (d *DirFS) valid(name string) error {
	if !fs.ValidPath(strings.ToValidUTF8(name, "?")) {
		return fail(d.Path(name), fs.ErrInvalid)
	}
	return nil
}

// lock is a lock of flock(2). It belongs to the open file, and closing the file releases it.
type lock struct {
	f    *os.File
	path string
}

// Shared implements Lock.
func (l *lock) Shared() error { return l.flock(unix.LOCK_SH) }

// Close implements Lock.
func (l *lock) Close() error { return fail(l.path, l.f.Close()) }

func (l *lock) flock(how int) error {
	for {
		switch err := unix.Flock(int(l.f.Fd()), how|unix.LOCK_NB); err {
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return fail(l.path, ErrLocked)
		default:
			return fail(l.path, err)
		}
	}
}

// file is an open file of the operating system. Package os completes short writes and repeats interrupted calls.
type file struct {
	f    *os.File
	path string
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err != io.EOF {
		err = fail(f.path, err)
	}
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, fail(f.path, err)
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, fail(f.path, err)
}

func (f *file) Sync() error  { return fail(f.path, f.f.Sync()) }
func (f *file) Close() error { return fail(f.path, f.f.Close()) }

func (f *file) Size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, fail(f.path, err)
	}
	return fi.Size(), nil
}

func (f *file) Map() ([]byte, error) {
	size, err := f.Size()
	if err != nil || size == 0 {
		return nil, err
	}
	if int64(int(size)) != size {
		return nil, fail(f.path, syscall.EFBIG)
	}
	data, err := unix.Mmap(int(f.f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	return data, fail(f.path, err)
}

func (f *file) Evict(data []byte) {
	if data != nil {
		_ = unix.Madvise(data, unix.MADV_DONTNEED) // it is only advice
	}
}

func (f *file) Unmap(data []byte) error {
	if data == nil {
		return nil
	}
	return fail(f.path, unix.Munmap(data))
}

// fail returns the bare reason of err with the path before it and without the name of the system call. It returns nil
// for nil.
func fail(path string, err error) error {
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	} else if le, ok := errors.AsType[*os.LinkError](err); ok {
		err = le.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
