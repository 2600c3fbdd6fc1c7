package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
)

// TempName returns a name that no other file has: 16 random hexadecimal digits.
func TempName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails, and always fills b
	return hex.EncodeToString(b[:])
}

// WriteFile makes name hold data, durably, and replaces what it held. At every instant and after every crash name holds
// its old contents whole or the new ones whole, and after WriteFile returned nil the new ones. tmp is a name in the
// same FS, in a folder that exists, that no file has. After an error name may hold either, and tmp is removed if that
// can be done; the error is the first.
func WriteFile(fsys FS, tmp, name string, data []byte) error {
	f, err := fsys.Create(tmp)
	if err != nil {
		return err // tmp is not ours
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		fsys.Remove(tmp) // the first error is the one to report
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// MkdirAll makes the folder name and those above it that are missing, and syncs the folder above each. It does so also
// above a folder that was there: whoever made that may have been stopped before its own SyncDir.
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

// ErrTooLong says that a file is longer than it may be.
var ErrTooLong = errors.New("file is too long")

// ReadFile returns the contents of a file as long as it is when it is opened. The error is ErrTooLong where that is more
// than most bytes.
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
		return nil, fail(fsys.Path(name), fmt.Errorf("%w: %d bytes, want %d or fewer", ErrTooLong, size, most))
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if n == len(data) {
		return data, nil
	}
	if err == io.EOF { // it was made shorter while it was read
		err = fail(fsys.Path(name), io.ErrUnexpectedEOF)
	}
	return nil, err
}
