package packed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"castar/store"
	"castar/store/durable"
)

// maxOpenPacks bounds the pack files that are kept open for reading.
const maxOpenPacks = 64

// packFiles keeps packs open. Its methods may be called concurrently.
type packFiles struct {
	fs durable.FS

	mu    sync.Mutex
	files map[packID]*packFile
}

type packFile struct {
	file   durable.File
	users  int
	pinned bool // being written by this process, under another name
}

// acquire returns an open pack, which must be released.
func (p *packFiles) acquire(id packID) (*packFile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.files[id]; ok {
		f.users++
		return f, nil
	}
	file, err := p.fs.Open(packPath(id))
	if err != nil {
		return nil, err
	}
	f := &packFile{file: file, users: 1}
	for id, idle := range p.files {
		if len(p.files) < maxOpenPacks {
			break
		}
		if idle.users == 0 && !idle.pinned {
			idle.file.Close() // it was only read
			delete(p.files, id)
		}
	}
	p.files[id] = f
	return f, nil
}

func (p *packFiles) release(f *packFile) {
	p.mu.Lock()
	f.users--
	p.mu.Unlock()
}

// pin adds a pack that is being written.
func (p *packFiles) pin(id packID, f durable.File) {
	p.mu.Lock()
	p.files[id] = &packFile{file: f, pinned: true}
	p.mu.Unlock()
}

// forget closes a pack that is to be removed, unless somebody reads it.
func (p *packFiles) forget(id packID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.files[id]; ok && f.users == 0 {
		f.file.Close() // it was only read
		delete(p.files, id)
	}
}

// unpin says that a pack now has its own name.
func (p *packFiles) unpin(id packID) {
	p.mu.Lock()
	p.files[id].pinned = false
	p.mu.Unlock()
}

// close closes all packs and returns the first error.
func (p *packFiles) close() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, f := range p.files {
		if cerr := f.file.Close(); err == nil {
			err = cerr
		}
		delete(p.files, id)
	}
	return err
}

// readFrame reads and decodes the payload of a frame into dst, which is grown where it is too small. The bytes are not
// checked against a digest. Damage that shows is a *store.CorruptError.
func (st *Store) readFrame(f frameRef, dst []byte) ([]byte, error) {
	p, err := st.packs.acquire(f.pack)
	if err != nil {
		return nil, st.unreadable(f, err)
	}
	defer st.packs.release(p)
	if err := checkSizes(f, p.file); err != nil {
		return nil, st.unreadable(f, err)
	}
	stored := dst
	if f.codec == codecZstd {
		stored = st.buffer(int(f.stored))
		defer func() { st.release(stored) }()
	}
	stored = resize(stored, int(f.stored))
	if _, err := p.file.ReadAt(stored, f.offset+int64(f.start)); err != nil {
		return nil, st.unreadable(f, err)
	}
	if f.codec == codecRaw {
		return stored, nil
	}
	raw := resize(dst, int(f.raw))
	if err := st.decoder.Decode(raw, stored); err != nil {
		return nil, st.corrupt(f, fmt.Errorf("frame: %w", err))
	}
	return raw, nil
}

// unreadable is why a frame could not be read: damage where the pack is gone, too short, or on a disk that fails, and
// otherwise an error as it is, which says nothing of the pack.
func (st *Store) unreadable(f frameRef, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return st.corrupt(f, errors.New("pack is cut short"))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EIO), errors.Is(err, errImpossible):
		return st.corrupt(f, err)
	}
	return err
}

// corrupt is damage in a frame.
func (st *Store) corrupt(f frameRef, err error) error {
	return &store.CorruptError{Where: fmt.Sprintf("%s offset %d", st.fs.Path(packPath(f.pack)), f.offset), Err: err}
}

// resize returns a slice of length n, b itself where it is large enough.
func resize(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n)
}
