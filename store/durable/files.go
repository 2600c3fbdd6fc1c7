package durable

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// TempName returns a unique file name: 16 random hexadecimal digits.
func TempName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, and always fills b
	return hex.EncodeToString(b[:])
}

// WriteFile durably replaces the contents of the file name by data. At any moment and after any crash the file has
// either its complete old contents or the complete new ones; once WriteFile has returned nil, it has the new ones. tmp
// is an unused name in an existing folder of the same FS. After an error the file may have either contents, and
// WriteFile has tried to remove tmp; it returns the first error.
func WriteFile(fsys FS, tmp, name string, data []byte) error {
	if err := NewFile(fsys, tmp, data, true); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		fsys.Remove(tmp) // the first error is the one to report
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// NewFile makes a file that holds data; see NewFileFunc.
func NewFile(fsys FS, name string, data []byte, sync bool) error {
	return NewFileFunc(fsys, name, sync, func(w io.Writer) (err error) {
		if len(data) > 0 {
			_, err = w.Write(data)
		}
		return err
	})
}

// NewFileFunc makes a file that holds what write writes. If sync is set, its contents are durable, but not its name. After
// an error NewFileFunc has tried to remove a file that it made; it returns the first error.
func NewFileFunc(fsys FS, name string, sync bool, write func(io.Writer) error) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err // the file is not ours
	}
	if err = write(f); err == nil && sync {
		err = f.Sync()
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		fsys.Remove(name)
	}
	return err
}

// AppendFile durably adds data to the end of a file, with one write. It makes the file if it is missing, but does not make
// the file's name durable.
func AppendFile(fsys FS, name string, data []byte) error {
	f, err := fsys.Append(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return cmp.Or(err, f.Close())
}

// MkdirAll makes the folder name and all missing folders above it, and syncs the parent of each. It also syncs the
// parent of a folder that exists, because the process that made the folder may have stopped before its SyncDir.
func MkdirAll(fsys FS, name string) error {
	if name == "." {
		return nil
	}
	parent := path.Dir(name)
	if err := MkdirAll(fsys, parent); err != nil {
		return err
	}
	if err := fsys.Mkdir(name); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		fi, serr := fsys.Stat(name)
		if serr != nil {
			return serr
		}
		if !fi.IsDir() {
			return fail(fsys.Path(name), syscall.ENOTDIR)
		}
	}
	return fsys.SyncDir(parent)
}

// MakeFolder makes the folder at a path of the operating system, and those above it that are missing, durably. It syncs
// the name of a folder that exists too, because its maker may have been stopped before its own sync.
func MakeFolder(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	above := filepath.Dir(dir)
	for {
		if fi, err := os.Stat(above); err == nil && fi.IsDir() || filepath.Dir(above) == above {
			break
		}
		above = filepath.Dir(above)
	}
	rel, err := filepath.Rel(above, dir)
	if err != nil {
		return err
	}
	fsys, err := Dir(above)
	if err != nil {
		return err
	}
	return errors.Join(MkdirAll(fsys, filepath.ToSlash(rel)), fsys.Close())
}

// ErrTooLong says that a file is longer than it may be.
var ErrTooLong = errors.New("file is too long")

// ReadFile returns the contents of a file up to its length at the time of the call. The error is ErrTooLong if that is
// more than most bytes.
func ReadFile(fsys FS, name string, most int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > most {
		return nil, fail(fsys.Path(name), fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLong, size, most))
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if n == len(data) {
		return data, nil
	}
	if err == io.EOF { // the file became shorter
		err = fail(fsys.Path(name), io.ErrUnexpectedEOF)
	}
	return nil, err
}
