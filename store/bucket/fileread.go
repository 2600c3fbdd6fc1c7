package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"syscall"

	"castar/store"
	"castar/store/durable"
)

// current returns the temporary name of an object's file. It reports false if the file has the object's own name.
func (f *fileBucket) current(name string) (tmp string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if tmp, ok = f.fresh[name]; !ok {
		tmp, ok = f.renaming[name]
	}
	return tmp, ok
}

func (f *fileBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var file durable.File
	err := f.under(name, func(at string) (err error) {
		file, err = f.fs.Open(at)
		return err
	})
	if err != nil {
		return nil, f.missing(name, err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, max(0, min(n, size-offset)))
	if m, err := file.ReadAt(b, offset); m < len(b) {
		if err == io.EOF {
			err = fmt.Errorf("%s: %w", f.fs.Path(name), io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	return b, nil
}

// under calls call with the current name of an object's file, and again if Sync or a later Put changed the name before
// call used it.
func (f *fileBucket) under(name string, call func(file string) error) error {
	for {
		tmp, ok := f.current(name)
		if !ok {
			return call(name)
		}
		if err := call(tmp); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if now, _ := f.current(name); now == tmp {
			return call(name) // Sync has renamed it, but not yet recorded that
		}
	}
}

// missing turns the error of a name that does not exist into store.ErrNotFound.
func (f *fileBucket) missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%s: %w", f.fs.Path(name), store.ErrNotFound)
	}
	return err
}

func (f *fileBucket) Head(ctx context.Context, name string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var fi fs.FileInfo
	named := false
	err := f.under(name, func(at string) (err error) {
		named = at == name
		fi, err = f.fs.Stat(at)
		return err
	})
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", f.fs.Path(name))
	}
	if err != nil {
		return 0, f.missing(name, err)
	}
	if named {
		f.rely(name)
	}
	return fi.Size(), nil
}

func (f *fileBucket) Delete(ctx context.Context, name string) error {
	if err := f.Sync(ctx); err != nil { // or a later Sync could bring the name back
		return err
	}
	if err := f.fs.Remove(name); err != nil {
		return f.missing(name, err)
	}
	f.rely(name)
	return nil
}

func (f *fileBucket) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		f.mu.Lock()
		fresh := len(f.fresh)
		f.mu.Unlock()
		if fresh > 0 {
			if err := f.Sync(ctx); err != nil {
				yield(Object{}, err)
				return
			}
		}
		for o, err := range ListFolders(ctx, prefix, after, f.readFolder) {
			if err == nil {
				var fi fs.FileInfo
				if fi, err = f.fs.Stat(o.Name); errors.Is(err, fs.ErrNotExist) {
					continue // deleted since it was listed
				} else if err == nil {
					o.Size, o.Modified = fi.Size(), fi.ModTime()
					f.rely(o.Name)
				}
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// readFolder returns the names in a folder, except those of the Bucket's own files.
func (f *fileBucket) readFolder(ctx context.Context, folder string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := f.fs.ReadDir(path.Clean(folder))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := folder + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if name != f.tmp()+"/" && name != f.lockFile() && name != f.swapFile() {
			names = append(names, name)
		}
	}
	return names, nil
}
