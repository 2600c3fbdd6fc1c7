package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"syscall"

	"castar/store/durable"
)

// file is an open file.
type file struct {
	fs                  *FS
	id                  int
	name                string
	read, write, append bool

	// Under fs.mu.
	off    int64 // of the next Write, unless append
	closed bool
}

// begin asks the hook, and locks the mutex unless it returns an error. A closed file is an error.
func (f *file) begin(op Op) error {
	op.Name = f.name
	if err := f.fs.ask(op); err != nil {
		return err
	}
	f.fs.mu.Lock()
	if f.closed {
		f.fs.mu.Unlock()
		return fail(f.name, fs.ErrClosed)
	}
	return nil
}

// node returns the file's node. The caller must hold the mutex.
func (f *file) node() *node { return f.fs.live.nodes[f.id] }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.begin(Op{Kind: Read, Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	switch data := f.node().data; {
	case !f.read:
		return 0, fail(f.name, syscall.EBADF)
	case off < 0:
		return 0, fail(f.name, syscall.EINVAL)
	case len(p) == 0:
		return 0, nil
	case off >= int64(len(data)):
		return 0, io.EOF
	default:
		n := copy(p, data[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if f.append || off < 0 {
		return 0, fail(f.name, syscall.EINVAL)
	}
	n, err := f.put(p, func() int64 { return off })
	f.fs.mu.Unlock()
	return n, err
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.put(p, func() int64 {
		if f.append {
			return int64(len(f.node().data))
		}
		return f.off
	})
	f.off += int64(n)
	f.fs.mu.Unlock()
	return n, err
}

// put writes p, or the part that the hook allows, at the offset that at returns. It calls at with the mutex locked, and
// returns with the mutex locked.
func (f *file) put(p []byte, at func() int64) (int, error) {
	f.fs.mu.Lock()
	op := Op{Kind: Write, Name: f.name, Off: at(), Len: len(p), id: f.id}
	f.fs.mu.Unlock()
	err := f.fs.ask(op)
	f.fs.mu.Lock()
	switch short := (*Short)(nil); {
	case f.closed:
		return 0, fail(f.name, fs.ErrClosed)
	case !f.write:
		return 0, fail(f.name, syscall.EBADF)
	case errors.As(err, &short):
		p, err = p[:min(short.N, len(p))], fail(f.name, short.Err)
	case err != nil:
		return 0, err
	}
	if len(p) > 0 {
		op.Off, op.Len, op.data = at(), len(p), bytes.Clone(p)
		f.fs.do(op)
	}
	return len(p), err
}

func (f *file) Size() (int64, error) {
	if err := f.begin(Op{Kind: Size}); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	return int64(len(f.node().data)), nil
}

func (f *file) Sync() error {
	err := f.fs.ask(Op{Kind: Sync, Name: f.name})
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail(f.name, fs.ErrClosed)
	}
	f.fs.do(Op{Kind: Sync, Name: f.name, Failed: err != nil, id: f.id})
	return err
}

// Map returns a copy: later writes do not show in it.
func (f *file) Map() ([]byte, error) {
	if err := f.begin(Op{Kind: Map}); err != nil {
		return nil, err
	}
	defer f.fs.mu.Unlock()
	data := f.node().data
	if len(data) == 0 {
		return nil, nil
	}
	if !f.read {
		return nil, fail(f.name, syscall.EACCES)
	}
	m := bytes.Clone(data)
	f.fs.maps[&m[0]] = true
	return m, nil
}

// Evict does nothing. It cannot fail, and never changes the bytes.
func (f *file) Evict([]byte) {}

// Unmap overwrites the bytes, so a later read gets wrong ones, and the race detector reports it. It may be called after
// Close.
func (f *file) Unmap(data []byte) error {
	if err := f.fs.ask(Op{Kind: Unmap, Name: f.name}); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if data == nil {
		return nil
	}
	if len(data) == 0 || !f.fs.maps[&data[0]] {
		return fail(f.name, syscall.EINVAL)
	}
	delete(f.fs.maps, &data[0])
	for i := range data {
		data[i] = 0xdb
	}
	return nil
}

// Close closes the file even if the hook makes it fail, as close(2) does.
func (f *file) Close() error {
	err := f.fs.ask(Op{Kind: Close, Name: f.name})
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail(f.name, fs.ErrClosed)
	}
	f.closed = true
	f.fs.files--
	return err
}

// Lock implements durable.FS. If the file is missing, the log gets its Create.
func (f *FS) Lock(name string, exclusive bool) (durable.Lock, error) {
	if err := f.begin(Op{Kind: Lock, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.findOrMake(name)
	if err != nil {
		return nil, fail(name, err)
	}
	held := f.locks[id]
	switch {
	case held < 0 || exclusive && held > 0:
		return nil, fail(name, durable.ErrLocked)
	case exclusive:
		f.locks[id] = -1
	default:
		f.locks[id]++
	}
	return &lock{fs: f, id: id, name: name, held: true}, nil
}

// lock is a lock that is held until Close.
type lock struct {
	fs   *FS
	id   int
	name string
	held bool // under fs.mu
}

func (l *lock) Shared() error {
	if err := l.fs.ask(Op{Kind: Shared, Name: l.name}); err != nil {
		return err
	}
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if !l.held {
		return fail(l.name, fs.ErrClosed)
	}
	l.fs.locks[l.id] = max(l.fs.locks[l.id], 1)
	return nil
}

func (l *lock) Close() error {
	err := l.fs.ask(Op{Kind: Unlock, Name: l.name})
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if !l.held {
		return fail(l.name, fs.ErrClosed)
	}
	l.held = false
	l.fs.locks[l.id] = max(l.fs.locks[l.id]-1, 0) // from -1, or one fewer that share it
	return err
}
