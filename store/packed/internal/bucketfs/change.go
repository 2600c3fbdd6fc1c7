package bucketfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Append implements durable.FS. The whole file is written again when it is synced.
func (f *FS) Append(name string) (durable.File, error) {
	f.setVacant(false)
	return &appender{fs: f, name: name}, f.valid(name)
}

// Mkdir implements durable.FS. All folders are there.
func (f *FS) Mkdir(name string) error { return f.valid(name) }

// Rename implements durable.FS.
func (f *FS) Rename(oldname, newname string) error {
	if err := errors.Join(f.valid(oldname), f.valid(newname)); err != nil {
		return err
	}
	if path.Dir(oldname) != pack.TempDir {
		return f.move(oldname, newname)
	}
	if dir := path.Dir(newname); dir == pack.Dir || dir == index.Dir {
		f.Send(oldname, newname)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.spools, oldname)
		return nil
	}
	f.mu.Lock()
	s := f.spools[oldname]
	f.mu.Unlock()
	if s == nil {
		return f.failed(oldname, store.ErrNotFound)
	}
	size, err := s.Size()
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := s.ReadAt(data, 0); err != nil && err != io.EOF {
		return err
	}
	if err := f.put(newname, data); err != nil {
		return err
	}
	return f.Remove(oldname)
}

// put writes a small file. What several processes may write at the same time is not replaced unless it is what this one has
// read: the error is durable.ErrLocked where another one has made the store, and bucket.ErrChanged elsewhere.
func (f *FS) put(name string, data []byte) error {
	if name != sealed.ConfigName {
		f.setVacant(false)
	}
	if h := f.Head(); path.Dir(name) == sealed.QuarantineDir && h != nil && !h.Quarantine {
		if err := f.Swap(f.ctx, func(h *Head) error { h.Quarantine = true; return nil }); err != nil {
			return err
		}
	}
	if name != sealed.ConfigName && name != sealed.LogName {
		return f.failed(name, f.b.Put(f.ctx, name, data))
	}
	f.mu.Lock()
	old := f.versions[name]
	f.mu.Unlock()
	v, err := f.b.PutIf(f.ctx, name, data, old)
	switch {
	case errors.Is(err, bucket.ErrChanged) && name == sealed.ConfigName:
		f.setVacant(false)
		return fmt.Errorf("%s: %w", f.Path(name), durable.ErrLocked)
	case err != nil:
		return f.failed(name, err)
	}
	f.know(name, data, v)
	return nil
}

// move renames a small file of the bucket.
func (f *FS) move(oldname, newname string) error {
	b, _, err := f.b.Load(f.ctx, oldname)
	if err == nil {
		err = f.b.Put(f.ctx, newname, b)
	}
	if err != nil {
		return f.failed(oldname, err)
	}
	return f.failed(oldname, f.b.Delete(f.ctx, oldname))
}

// Remove implements durable.FS. It deletes no packs and indexes that others may know; see Head.Condemn.
func (f *FS) Remove(name string) error {
	if err := f.valid(name); err != nil {
		return err
	}
	f.mu.Lock()
	s := f.spools[name]
	delete(f.spools, name)
	f.mu.Unlock()
	switch dir := path.Dir(name); {
	case s != nil:
		return f.drop(s)
	case dir == pack.TempDir:
		return f.failed(name, store.ErrNotFound)
	case dir == pack.Dir, dir == index.Dir:
		return fmt.Errorf("%s: %w", f.Path(name), errors.ErrUnsupported)
	}
	if _, err := f.b.Head(f.ctx, name); err != nil {
		return f.failed(name, err)
	}
	return f.failed(name, f.b.Delete(f.ctx, name))
}

// Delete deletes a file of the bucket for good, also from the cache. It is no error if there is none.
func (f *FS) Delete(ctx context.Context, name string) error {
	f.cache.remove(name)
	return f.delete(ctx, name)
}

func (f *FS) delete(ctx context.Context, name string) error {
	if err := f.b.Delete(ctx, name); !store.IsNotFound(err) {
		return err
	}
	return nil
}
