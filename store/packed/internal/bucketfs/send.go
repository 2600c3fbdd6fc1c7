package bucketfs

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"castar/store/durable"
	"castar/store/packed/pack"
)

// spool is a file on this machine that has no name, so that nothing is left of it if the process is killed. Once it was
// sent, and its memory is needed, it is read from the bucket.
type spool struct {
	durable.File

	mu     sync.RWMutex
	named  bool          // by a name in tmp/, or because it is on its way to the bucket
	closed bool          // by its user
	far    durable.File  // where it is read once it was sent
	sent   chan struct{} // closed when it is in the bucket, or cannot get there; nil: it was not sent
	to     string        // where it was sent
}

// newSpool returns an empty file.
func (f *FS) newSpool() (*spool, error) {
	file, err := f.newFile()
	if err != nil {
		return nil, err
	}
	return &spool{File: file, named: true}, nil
}

// newFile returns an empty file on this machine that has no name.
func (f *FS) newFile() (durable.File, error) {
	dir := os.TempDir()
	if f.cache != nil {
		dir = f.cache.path // often on disk where the other is in memory
	}
	d, err := durable.Dir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	name := ".castar-" + durable.TempName()
	file, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.far != nil {
		return s.far.ReadAt(p, off)
	}
	return s.File.ReadAt(p, off)
}

func (s *spool) Size() (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.far != nil {
		return s.far.Size()
	}
	return s.File.Size()
}

// Sync does nothing: a spool is to be sent, not to be kept.
func (s *spool) Sync() error { return nil }

// Close closes the file once it has no name any more: it may be opened again, or sent.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.far != nil {
		return s.far.Close()
	}
	return s.closeUnused()
}

// unname says that the file has no name any more.
func (s *spool) unname() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = false
	return s.closeUnused()
}

func (s *spool) closeUnused() error {
	if s.named || !s.closed || s.far != nil {
		return nil
	}
	s.far = gone{}
	return s.File.Close()
}

// release frees the room that the file takes on this machine.
func (s *spool) release(far durable.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.far == nil {
		s.far = far
		s.File.Close() // it was only read
	}
}

// uploads is how many packs are on their way at once, at most.
const uploads = 5

// notSent remembers the first error of what was sent, for flush.
func (f *FS) notSent(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sendErr = cmp.Or(f.sendErr, err)
}

// flush waits until all that was sent is in the bucket, and returns the first error of it.
func (f *FS) flush() error {
	f.sending.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sendErr
}

// Send implements durable.Far.
func (f *FS) Send(tmp, name string) {
	f.mu.Lock()
	s := f.spools[tmp]
	if s == nil || s.sent != nil {
		f.mu.Unlock()
		return
	}
	s.sent, s.to = make(chan struct{}), name
	f.moved[name] = s
	f.vacant = false
	f.mu.Unlock()
	select {
	case f.uploads <- struct{}{}:
	case <-f.ctx.Done():
		f.notSent(f.ctx.Err())
		close(s.sent)
		return
	}
	f.sending.Go(func() {
		defer close(s.sent)
		defer func() { <-f.uploads }()
		f.notSent(f.sendFile(s, name))
	})
}

// sendFile puts a file into the bucket, and into the cache if it belongs there.
func (f *FS) sendFile(s *spool, name string) error {
	size, err := s.File.Size()
	if err != nil {
		return err
	}
	if err := f.b.PutLarge(f.ctx, name, s.File, size); err != nil {
		return err
	}
	var far durable.File = &remote{fs: f, name: name}
	if f.cached(name, s.File) {
		f.cache.add(name, io.NewSectionReader(s.File, 0, size), size)
		far = &whole{remote: &remote{fs: f, name: name}}
	}
	if filepath.Ext(name) == pack.Ext { // an index stays, because it is mapped
		s.release(far)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.moved, name)
		f.waiting[name] = true
	}
	return nil
}

// Waiting returns the packs that are in the bucket and that no index names yet.
func (f *FS) Waiting() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.waiting))
}

// Arrived says that an index names packs.
func (f *FS) Arrived(packs []pack.Length) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range packs {
		delete(f.waiting, p.ID.Path())
	}
}

// cached reports whether a file belongs into the cache: an index, or a pack without contents.
func (f *FS) cached(name string, file io.ReaderAt) bool {
	if filepath.Ext(name) != pack.Ext {
		return true
	}
	head := make([]byte, pack.PackHeadLen)
	if _, err := file.ReadAt(head, 0); err != nil {
		return false
	}
	role, err := pack.ParsePackHead(head)
	return err == nil && role == pack.RoleMeta
}

// drop forgets a file in tmp/. If it was sent, nothing names it, and it is deleted.
func (f *FS) drop(s *spool) error {
	if s.sent == nil {
		return s.unname()
	}
	<-s.sent
	f.mu.Lock()
	delete(f.moved, s.to)
	delete(f.waiting, s.to)
	f.mu.Unlock()
	s.release(gone{})
	f.cache.remove(s.to)
	return f.clear(s.to)
}

// clear deletes from the bucket what this process has put and nobody needs, also while the FS is being closed.
func (f *FS) clear(name string) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), patience)
	defer cancel()
	return f.delete(ctx, name)
}

// gone is a file that is gone.
type gone struct{ readOnly }

var errGone = errors.New("file was removed")

func (gone) ReadAt([]byte, int64) (int, error) { return 0, errGone }
func (gone) Map() ([]byte, error)              { return nil, errGone }
func (gone) Size() (int64, error)              { return 0, errGone }
