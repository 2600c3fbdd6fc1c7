package pack

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"castar/store"
	"castar/store/durable"

	"golang.org/x/sync/semaphore"
)

// Files reads and writes the packs of one store. Its methods may be called concurrently.
type Files struct {
	// Coders compress and decompress. Files of several stores may share them.
	*Coders
	// Random is what packs get their names from: crypto/rand.Reader, except in tests.
	Random io.Reader
	fs     durable.FS
	open   openFiles
	frames frameCache
	large  *semaphore.Weighted // bytes of large objects in memory; see Weigh
}

// NewFiles returns the packs of the store in a folder. It opens none of them. Close ends it.
func NewFiles(fsys durable.FS, c *Coders) *Files {
	return &Files{
		Coders: c, Random: rand.Reader, fs: fsys, open: openFiles{fs: fsys, files: make(map[ID]*openFile)},
		frames: newFrameCache(), large: semaphore.NewWeighted(largeBytes),
	}
}

// maxOpen bounds the pack files that are kept open for reading.
const maxOpen = 64

// openFiles keeps packs open. Its methods may be called concurrently.
type openFiles struct {
	fs durable.FS

	mu    sync.Mutex
	files map[ID]*openFile
}

type openFile struct {
	durable.File
	users  int
	pinned bool // being written by this process, under another name
}

// acquire returns an open pack, which must be released. whole says that most of it will be read, in any order.
func (p *openFiles) acquire(id ID, whole bool) (*openFile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.files[id]; ok {
		f.users++
		return f, nil
	}
	open := p.fs.Open
	if far, ok := p.fs.(durable.Far); ok && whole {
		open = far.OpenWhole
	}
	file, err := open(id.Path())
	if err != nil {
		return nil, err
	}
	f := &openFile{File: file, users: 1}
	for id, idle := range p.files {
		if len(p.files) < maxOpen {
			break
		}
		if idle.users == 0 && !idle.pinned {
			idle.Close() // it was only read
			delete(p.files, id)
		}
	}
	p.files[id] = f
	return f, nil
}

func (p *openFiles) release(f *openFile) {
	p.mu.Lock()
	f.users--
	p.mu.Unlock()
}

// pin adds a pack that is being written.
func (p *openFiles) pin(id ID, f durable.File) {
	p.mu.Lock()
	p.files[id] = &openFile{File: f, pinned: true}
	p.mu.Unlock()
}

// unpin says that a pack now has its own name.
func (p *openFiles) unpin(id ID) {
	p.mu.Lock()
	p.files[id].pinned = false
	p.mu.Unlock()
}

// Forget closes a pack that is to be removed, unless somebody reads it.
func (p *Files) Forget(id ID) {
	p.open.mu.Lock()
	defer p.open.mu.Unlock()
	if f, ok := p.open.files[id]; ok && f.users == 0 {
		f.Close() // it was only read
		delete(p.open.files, id)
	}
}

// Close closes all packs and returns the first error.
func (p *Files) Close() (err error) {
	p.open.mu.Lock()
	defer p.open.mu.Unlock()
	for id, f := range p.open.files {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		delete(p.open.files, id)
	}
	return err
}

// IDs returns the packs that are regular files. There are none if Dir is missing.
func (p *Files) IDs() (ids []ID, err error) {
	entries, err := p.fs.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if id, ok := ParseName(e.Name()); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// errCut is what is wrong with a pack that has fewer bytes than its frames need.
var errCut = errors.New("pack is cut short")

// Unreadable returns why a frame could not be read, given the error of the file system: a *store.CorruptError if the pack
// is gone, too short, or on a disk that fails, and otherwise err itself, which says nothing of the pack.
func (p *Files) Unreadable(f Frame, err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return p.Corrupt(f, errCut)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EIO), errors.Is(err, ErrImpossible):
		return p.Corrupt(f, withoutPlace(p.fs.Path(f.Pack.Path()), err))
	}
	return err
}

// withoutPlace returns the reason in an error that begins with a path, which is named already.
func withoutPlace(path string, err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), path+": ") {
		return inner
	}
	return err
}

// Contradicts returns what is wrong with a frame, given an error of Load, LoadHead or CheckLarge, if the bytes could be
// read and are not what they should be. It returns nil for other errors: another attempt may read the bytes.
func Contradicts(err error) error {
	c, ok := errors.AsType[*store.CorruptError](err)
	if !ok || errors.Is(err, errCut) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO) {
		return nil
	}
	return c.Err
}

// Corrupt returns a *store.CorruptError that says where f is.
func (p *Files) Corrupt(f Frame, err error) error {
	return &store.CorruptError{Where: p.fs.Path(Location{Frame: f}.String()), Err: err}
}
