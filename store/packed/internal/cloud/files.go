package cloud

import (
	"bytes"
	"errors"
	"io"
	"syscall"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
)

// readOnly has the methods of a file that is only read.
type readOnly struct{}

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, syscall.EBADF }
func (readOnly) Write([]byte) (int, error)          { return 0, syscall.EBADF }
func (readOnly) Close() error                       { return nil }
func (readOnly) Sync() error                        { return nil }
func (readOnly) Evict([]byte)                       {}
func (readOnly) Unmap([]byte) error                 { return nil }

// small is a file that was read as a whole.
type small struct{ *bytes.Reader }

func (small) WriteAt([]byte, int64) (int, error) { return 0, syscall.EBADF }
func (small) Write([]byte) (int, error)          { return 0, syscall.EBADF }
func (small) Close() error                       { return nil }
func (small) Sync() error                        { return nil }
func (small) Evict([]byte)                       {}
func (small) Unmap([]byte) error                 { return nil }
func (s small) Size() (int64, error)             { return s.Reader.Size(), nil }

func (s small) Map() ([]byte, error) {
	data := make([]byte, s.Reader.Size())
	_, err := s.ReadAt(data, 0)
	if err == io.EOF {
		err = nil
	}
	return data, err
}

// appender is a file that is appended to.
type appender struct {
	readOnly
	fs   *FS
	name string
	buf  []byte
}

func (a *appender) ReadAt([]byte, int64) (int, error) { return 0, syscall.EBADF }
func (a *appender) Map() ([]byte, error)              { return nil, syscall.EACCES }
func (a *appender) Size() (int64, error)              { return 0, syscall.EBADF }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

// Sync writes the file anew with what was written at its end. If another process was faster, it begins again.
func (a *appender) Sync() error {
	for try := 0; ; try++ {
		old, v, err := a.fs.b.Load(a.fs.ctx, a.name)
		if store.IsNotFound(err) {
			old, v, err = nil, bucket.Absent, nil
		}
		if err != nil {
			return err
		}
		if try > 0 && bytes.Contains(old, a.buf) {
			return nil // the answer to the last try was lost
		}
		if _, err = a.fs.b.PutIf(a.fs.ctx, a.name, append(old, a.buf...), v); !errors.Is(err, bucket.ErrChanged) {
			return err
		}
		if err := pause(a.fs.ctx, try); err != nil {
			return err
		}
	}
}

// shared is a file that somebody else closes.
type shared struct{ durable.File }

func (shared) Close() error { return nil }
