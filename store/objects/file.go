package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"castar/store"
	"castar/store/durable"
)

// A fileBucket is a folder with a file for each object, as tvix and snix lay it out. They write each file under its own
// name; here it is written under a temporary one, and gets its name in Sync, after its bytes were synced:
//
//	blobs/b3/… chunks/b3/… dirs/b3/…   objects
//	castar/…                           objects of this program's own
//	castar/tmp/<16 hex>                bytes that no name has yet
//	castar/lock                        held, shared, by whoever may have files in castar/tmp
//
// One sync is made for many files: that of the whole file system where the operating system can, else one for each file
// and folder.
type fileBucket struct {
	fs      durable.FS
	syncAll func() error // syncs all the file system that fs is in; nil where that cannot be had
	close   func() error

	begin   sync.Once // what the first Put needs
	begun   error
	lock    durable.Lock
	syncing sync.Mutex // held by Sync

	mu      sync.Mutex
	fresh   map[string]string   // temporary names, by the names they are to get
	naming  map[string]string   // the same, while Sync names them
	folders map[string]struct{} // in which there are names that a crash may undo
	err     error               // of a sync: never forgotten, for a later sync may succeed though bytes were lost
}

const (
	tmpDir   = ownPrefix + "tmp"
	lockName = ownPrefix + "lock"
)

// OpenFile opens the folder at path as a Bucket, and makes it if create is set. The error is store.ErrNoStore where it
// is not there. Nothing is written before the first Put.
func OpenFile(dir string, create bool) (Bucket, error) {
	if create {
		if err := makeFolder(dir); err != nil {
			return nil, err
		}
	}
	d, err := durable.Dir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, store.ErrNoStore)
	}
	if err != nil {
		return nil, err
	}
	syncAll, closeSync := fileSystemSync(dir)
	return newFileBucket(d, syncAll, func() error { return errors.Join(closeSync(), d.Close()) }), nil
}

func newFileBucket(fsys durable.FS, syncAll, closeAll func() error) *fileBucket {
	return &fileBucket{
		fs: fsys, syncAll: syncAll, close: closeAll,
		fresh: map[string]string{}, folders: map[string]struct{}{},
	}
}

// makeFolder makes a folder and those above it that are missing, durably.
func makeFolder(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	above := dir
	for {
		fi, err := os.Stat(above)
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("%s: %w", above, syscall.ENOTDIR)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(above) == above {
			return err
		}
		above = filepath.Dir(above)
	}
	if above == dir {
		return nil
	}
	d, err := durable.Dir(above)
	if err != nil {
		return err
	}
	defer d.Close()
	rel, err := filepath.Rel(above, dir)
	if err != nil {
		return err
	}
	return durable.MkdirAll(d, filepath.ToSlash(rel))
}

// String implements Bucket.
func (f *fileBucket) String() string { return f.fs.Path(".") }

// prepare makes castar/tmp, takes the lock, and removes what processes that are gone left behind, if no other is there.
func (f *fileBucket) prepare() error {
	if err := durable.MkdirAll(f.fs, tmpDir); err != nil {
		return err
	}
	lock, err := f.fs.Lock(lockName, true)
	if err == nil {
		var left []fs.DirEntry
		if left, err = f.fs.ReadDir(tmpDir); err == nil {
			for _, e := range left {
				f.fs.Remove(tmpDir + "/" + e.Name()) // it is in nobody's way
			}
			err = lock.Shared()
		}
		if err == nil {
			f.lock = lock
			return nil
		}
		lock.Close()
	}
	for range 100 { // another process cleans up, which takes no long
		if !errors.Is(err, store.ErrLocked) {
			break
		}
		if f.lock, err = f.fs.Lock(lockName, false); err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return err
}

// Put implements Bucket.
func (f *fileBucket) Put(ctx context.Context, name string, data []byte) error {
	f.begin.Do(func() { f.begun = f.prepare() })
	if f.begun != nil {
		return f.begun
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	tmp := tmpDir + "/" + durable.TempName()
	if err := f.write(tmp, data); err != nil {
		f.fs.Remove(tmp) // the first error is the one to report
		return err
	}
	f.mu.Lock()
	old, replaced := f.fresh[name]
	f.fresh[name] = tmp
	f.mu.Unlock()
	if replaced {
		f.fs.Remove(old) // the next who takes the lock alone does it otherwise
	}
	return nil
}

// write writes a temporary file, and syncs it if Sync will not.
func (f *fileBucket) write(tmp string, data []byte) error {
	file, err := f.fs.Create(tmp)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		_, err = file.Write(data)
	}
	if err == nil && f.syncAll == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// Sync implements Bucket.
func (f *fileBucket) Sync(ctx context.Context) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	f.naming, f.fresh = f.fresh, map[string]string{}
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if err = f.settle(); err != nil {
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
	}
	return err
}

// settle gives the files in naming their names, and makes names durable.
func (f *fileBucket) settle() error {
	if f.syncAll != nil && len(f.naming) > 0 {
		if err := f.syncAll(); err != nil {
			return err
		}
	}
	for name, tmp := range f.naming {
		if err := f.rename(tmp, name); err != nil {
			return err
		}
		f.rely(name)
	}
	f.mu.Lock()
	folders := f.folders
	f.naming, f.folders = nil, map[string]struct{}{}
	f.mu.Unlock()
	if f.syncAll != nil && len(folders) > 0 {
		return f.syncAll()
	}
	for folder := range folders {
		if err := f.fs.SyncDir(folder); err != nil {
			return err
		}
	}
	return nil
}

// rename gives a file its name, in a folder that may have to be made.
func (f *fileBucket) rename(tmp, name string) error {
	err := f.fs.Rename(tmp, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return f.fs.Rename(tmp, name)
}

// mkdir makes a folder and those above it that are missing, which settle will sync.
func (f *fileBucket) mkdir(folder string) error {
	if folder == "." {
		return nil
	}
	err := f.fs.Mkdir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.mkdir(path.Dir(folder)); err != nil {
			return err
		}
		err = f.fs.Mkdir(folder)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// rely has the next Sync make a name durable. The process that gave it may have been stopped before its own Sync.
func (f *fileBucket) rely(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for folder := path.Dir(name); ; folder = path.Dir(folder) {
		if _, ok := f.folders[folder]; ok {
			return // with all above it
		}
		f.folders[folder] = struct{}{}
		if folder == "." {
			return
		}
	}
}

// Close implements Bucket.
func (f *fileBucket) Close() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tmp := range f.fresh {
		f.fs.Remove(tmp) // what was not synced may be lost
	}
	f.fresh = map[string]string{}
	var err error
	if f.lock != nil {
		err = f.lock.Close()
		f.lock = nil
	}
	return errors.Join(err, f.close())
}
