package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/retry"
)

// A fileBucket is a folder with a file for each object. It writes a file under a temporary name, and Sync renames it after
// it has synced the bytes. Its own files lie below a prefix, such as "castar/":
//
//	<prefix>tmp/<16 hex>   objects that have no name yet
//	<prefix>lock           held, shared, by processes that may have files in tmp
//	<prefix>swap           held by a PutIf
//
// Sync syncs the whole file system at once if the operating system can do that, and otherwise each file and folder.
type fileBucket struct {
	NoUploads
	LocalClock
	fs      durable.FS
	own     string       // the prefix
	syncAll func() error // syncs the whole file system that holds fs; may be nil
	close   func() error

	begin   sync.Once // for the first Put
	begun   error
	lock    durable.Lock
	syncing sync.Mutex // held by Sync

	mu       sync.Mutex
	fresh    map[string]string   // temporary names of files, by object
	renaming map[string]string   // the same for files that Sync is renaming
	folders  map[string]struct{} // folders with names that a crash may undo
	err      error               // of a sync; sticky, because a later sync may succeed although bytes were lost
}

// OpenFile opens the folder dir as a Bucket, and makes it if create is set. The error is store.ErrNoStore if it does not
// exist. Nothing is written to the folder before the first Put. The Bucket's own files have names that begin with own,
// which is empty or ends with a slash. List does not yield them, and nobody puts objects there.
func OpenFile(dir, own string, create bool) (Bucket, error) {
	if _, err := os.Stat(dir); create && errors.Is(err, fs.ErrNotExist) {
		if err := durable.MakeFolder(dir); err != nil {
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
	return NewFile(d, own, syncAll, func() error { return errors.Join(closeSync(), d.Close()) }), nil
}

// NewFile is OpenFile for a file system that is open. syncAll syncs all of it; nil means that single files and folders are
// synced instead. Close calls closeAll.
func NewFile(fsys durable.FS, own string, syncAll, closeAll func() error) Bucket {
	return &fileBucket{
		fs: fsys, own: own, syncAll: syncAll, close: closeAll,
		fresh: map[string]string{}, folders: map[string]struct{}{},
	}
}

func (f *fileBucket) String() string { return f.fs.Path(".") }

// The names of the files of a Bucket's own.
func (f *fileBucket) tmp() string      { return f.own + "tmp" }
func (f *fileBucket) lockFile() string { return f.own + "lock" }
func (f *fileBucket) swapFile() string { return f.own + "swap" }

// prepare makes the folder tmp and takes the lock. If no other process has the lock, it removes files that dead processes
// left in tmp.
func (f *fileBucket) prepare() error {
	if err := durable.MkdirAll(f.fs, f.tmp()); err != nil {
		return err
	}
	lock, err := f.fs.Lock(f.lockFile(), true)
	if err == nil {
		var left []fs.DirEntry
		if left, err = f.fs.ReadDir(f.tmp()); err == nil {
			for _, e := range left {
				f.fs.Remove(f.tmp() + "/" + e.Name()) // a file that stays does no harm
			}
			err = lock.Shared()
		}
		if err == nil {
			f.lock = lock
			return nil
		}
		lock.Close()
	}
	if errors.Is(err, store.ErrLocked) { // another process is cleaning up, which is quick
		f.lock, err = f.waitForLock(context.Background(), f.lockFile(), false, 100, 10*time.Millisecond)
	}
	return err
}

// waitForLock takes a lock that another process may hold. It tries up to tries times, or without end if that is 0, and
// pauses in between.
func (f *fileBucket) waitForLock(
	ctx context.Context, name string, exclusive bool, tries int, pause time.Duration,
) (lock durable.Lock, err error) {
	isLocked := func(err error) bool { return errors.Is(err, store.ErrLocked) }
	policy := retry.Policy{Tries: tries, First: pause, Most: pause}
	err = policy.Do(ctx, isLocked, func(context.Context) (err error) {
		lock, err = f.fs.Lock(name, exclusive)
		return err
	})
	return lock, err
}

func (f *fileBucket) Put(ctx context.Context, name string, data []byte) error {
	return f.put(ctx, name, func(tmp string) error { return durable.NewFile(f.fs, tmp, data, f.syncAll == nil) })
}

func (f *fileBucket) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return f.put(ctx, name, func(tmp string) error {
		file, err := f.fs.Create(tmp)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, Exactly(r, size))
		if err == nil && f.syncAll == nil {
			err = file.Sync()
		}
		if err = cmp.Or(err, file.Close()); err != nil {
			f.fs.Remove(tmp)
		}
		return err
	})
}

// put makes a file for an object, which write fills.
func (f *fileBucket) put(ctx context.Context, name string, write func(tmp string) error) error {
	f.begin.Do(func() { f.begun = f.prepare() })
	if f.begun != nil {
		return f.begun
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	tmp := f.tmp() + "/" + durable.TempName()
	if err := write(tmp); err != nil {
		return err
	}
	f.mu.Lock()
	old, replaced := f.fresh[name]
	f.fresh[name] = tmp
	f.mu.Unlock()
	if replaced {
		f.fs.Remove(old) // if this fails, a later prepare removes it
	}
	return nil
}

func (f *fileBucket) Sync(ctx context.Context) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	f.renaming, f.fresh = f.fresh, map[string]string{}
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

// settle renames the files in renaming, and makes all new names durable.
func (f *fileBucket) settle() error {
	if f.syncAll != nil && len(f.renaming) > 0 {
		if err := f.syncAll(); err != nil {
			return err
		}
	}
	for name, tmp := range f.renaming {
		if err := f.rename(tmp, name); err != nil {
			return err
		}
		f.rely(name)
	}
	f.mu.Lock()
	folders := f.folders
	f.renaming, f.folders = nil, map[string]struct{}{}
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

// rename gives a file its name, and makes the folder if necessary.
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

// mkdir makes a folder and the missing ones above it. Settle will sync them.
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

// rely makes the next Sync sync a name. The process that gave the name may have been stopped before its own Sync.
func (f *fileBucket) rely(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for folder := path.Dir(name); ; folder = path.Dir(folder) {
		if _, ok := f.folders[folder]; ok {
			return // all folders above are there too
		}
		f.folders[folder] = struct{}{}
		if folder == "." {
			return
		}
	}
}

func (f *fileBucket) Close() error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tmp := range f.fresh {
		f.fs.Remove(tmp) // objects that were not synced may be lost
	}
	f.fresh = map[string]string{}
	var err error
	if f.lock != nil {
		err = f.lock.Close()
		f.lock = nil
	}
	return errors.Join(err, f.close())
}
