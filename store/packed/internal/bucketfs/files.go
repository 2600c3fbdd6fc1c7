package bucketfs

import (
	"bytes"
	"errors"
	"slices"
	"syscall"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/internal/sealed"
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
type small struct {
	readOnly
	data []byte
}

func (s small) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.data).ReadAt(p, off)
}
func (s small) Size() (int64, error) { return int64(len(s.data)), nil }
func (s small) Map() ([]byte, error) { return bytes.Clone(s.data), nil }

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

// Sync writes the whole file with what was written at its end. If another process was faster than this one, which may
// have read the file before, it begins again.
func (a *appender) Sync() error {
	f := a.fs
	f.mu.Lock()
	old, known := f.ends[a.name]
	f.mu.Unlock()
	for try := 0; ; try++ {
		if !known {
			before := bytes.Count(old.data, a.buf)
			if err := a.load(&old); err != nil {
				return err
			}
			if try > 0 && bytes.Count(old.data, a.buf) > before {
				return nil // the answer to the last try was lost
			}
		}
		data := slices.Concat(old.data, a.buf)
		v, err := f.b.PutIf(f.ctx, a.name, data, old.version)
		if err == nil {
			f.know(a.name, data, v)
		}
		if !errors.Is(err, bucket.ErrChanged) {
			return f.failed(a.name, err)
		}
		if known = false; try > 0 {
			if err := pause(f.ctx, try); err != nil {
				return err
			}
		}
	}
}

func (a *appender) load(to *loaded) (err error) {
	to.data, to.version, err = a.fs.b.Load(a.fs.ctx, a.name)
	if store.IsNotFound(err) {
		*to = loaded{version: bucket.Absent}
		return nil
	}
	return err
}

// loaded is a file that is appended to, as this process has read or written it last.
type loaded struct {
	data    []byte
	version bucket.Version
}

// know remembers what version of a file that others may change this process has, and the bytes of the log unless they are
// many, so that it need not be read again when a line is added. A config goes into the cache.
func (f *FS) know(name string, data []byte, v bucket.Version) {
	const most = 1 << 20
	f.mu.Lock()
	f.versions[name] = v
	delete(f.ends, name)
	if name == sealed.LogName && len(data) <= most {
		f.ends[name] = loaded{data, v}
	}
	f.mu.Unlock()
	if name != sealed.ConfigName {
		return
	}
	if c, err := sealed.ParseConfig(data); err == nil {
		f.UseCache(c.ID)
		f.cache.add(name, bytes.NewReader(data), int64(len(data)))
	}
}

// borrowed is a file that somebody else closes.
type borrowed struct{ durable.File }

func (borrowed) Close() error { return nil }
