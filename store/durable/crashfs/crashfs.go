// Package crashfs is a durable.FS in memory. It records every change, and builds from the record the states in which a
// crash may leave a disk. It is for tests.
//
// # What a crash leaves
//
// The machine stops after the first k operations. Everything synced survives. Each of the following survives or is lost
// independently, in any combination. POSIX allows this (fsync(2), rename(2)), and file systems do it (Pillai et al.,
// "All File Systems Are Not Created Equal", OSDI 2014). An operation that is cut off in the middle needs no case of its
// own, because a crash after k+1 operations may lose parts of the last one.
//
//   - A write since the file's last Sync may survive whole or not at all. Its first bytes alone may survive, up to a
//     sector of 512 bytes, or up to any byte if the write is no longer than a sector. Its last sectors alone may survive,
//     after the old contents or zeros. If the write makes the file longer, the length may survive without the data, or
//     with the first sectors only; the rest reads as zeros (delayed allocation in ext4 and XFS). The file is as long as
//     the surviving writes make it, and holes read as zeros.
//   - A Create, Mkdir or Remove since the last SyncDir of its folder happened or did not. A file or folder without a
//     name is gone with all its contents, even if those were synced.
//   - A Rename of a file since the last SyncDir of either folder happened, or did not, or left the file under both
//     names. The new name is that of the old file or the new one, never of nothing. If only the folder of the new name
//     was synced, the old name may survive too. If only the folder of the old name was synced, the whole rename may be
//     lost. A folder never has two names.
//   - After a failed Sync or SyncDir, the changes that it should have made durable stay in doubt, whatever later calls
//     return: kernels mark the pages clean (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
//
// This is worse than any one file system. For instance, one of two writes to a sector may survive without the other,
// and so may one of a rename and the later use of its old name. A file never has bytes that were not written to it,
// except zeros.
package crashfs

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"castar/store/durable"
)

// FS is a folder in memory with a log of its changes. All methods may be called concurrently.
type FS struct {
	mu   sync.Mutex
	base tree // before the first operation; durable
	live tree // after the last operation
	ops  []Op
	hook func(Op) error

	locks map[int]int // by file: the number of shared locks, or -1 for an exclusive one
	maps  map[*byte]bool
	files int // open
}

var _ durable.FS = (*FS)(nil)

// New returns an empty folder.
func New() *FS {
	return newFS(&tree{token: new(token), nodes: []*node{{dir: true, entries: map[string]int{}}}}, nil)
}

// newFS returns an FS that had the contents base, and then the changes ops.
func newFS(base *tree, ops []Op) *FS {
	f := &FS{base: base.clone(), live: base.clone(), ops: ops, locks: map[int]int{}, maps: map[*byte]bool{}}
	for _, op := range ops {
		f.live.apply(op)
	}
	return f
}

// Len returns how many changes were recorded.
func (f *FS) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ops)
}

// Ops returns the changes since New or the crash, in order. They include a Sync or SyncDir that a hook made fail, but
// no operations that only read, and no locks.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// Files returns the contents of every file by its name. The caller must not change them.
func (f *FS) Files() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	files := map[string][]byte{}
	f.live.walk(0, ".", func(name string, id int) {
		if n := f.live.nodes[id]; !n.dir {
			files[name] = slices.Clip(n.data)
		}
	})
	return files
}

// Clone returns an independent copy. It has the log, but no open files, maps, locks or hook.
func (f *FS) Clone() *FS { return f.Kill(f.Len()) }

// Kill returns the folder after a process was killed after its first k operations, while the machine kept running. All
// k changes are there, and those that were not synced may still be lost in a crash. Its log has k operations.
func (f *FS) Kill(k int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return newFS(&f.base, slices.Clone(f.ops[:k]))
}

// InUse returns the number of open files, maps and locks. It is 0 at the end of a test without leaks.
func (f *FS) InUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.files + len(f.maps)
	for _, held := range f.locks {
		n += max(held, -held)
	}
	return n
}

// Inject makes f call hook before every operation, including those that only read. If hook returns an error, the
// operation fails with that error and the name, and has no effect. There are exceptions: a failed Close closes, a
// failed Sync or SyncDir leaves its changes in doubt, and a write that fails with a *Short is done in part. A nil hook
// ends this. The hook may use f, and is then called for those operations too. An operation that began before Inject may
// miss the hook.
func (f *FS) Inject(hook func(op Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// ask calls the hook. The caller must not hold the mutex.
func (f *FS) ask(op Op) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return fail(op.Name, hook(op))
}

// begin checks the name, asks the hook, and locks the mutex unless it returns an error.
func (f *FS) begin(op Op) error {
	if !fs.ValidPath(op.Name) || op.Kind == Rename && !fs.ValidPath(op.To) {
		return fail(op.Name, fs.ErrInvalid)
	}
	if err := f.ask(op); err != nil {
		return err
	}
	f.mu.Lock()
	return nil
}

// do records a change and makes it.
func (f *FS) do(op Op) {
	f.ops = append(f.ops, op)
	f.live.apply(op)
}

// Free returns that there is room for everything.
func (f *FS) Free() (int64, error) { return math.MaxInt64, nil }

// Path returns the name itself.
func (f *FS) Path(name string) string { return name }

// Open implements durable.FS.
func (f *FS) Open(name string) (durable.File, error) {
	if err := f.begin(Op{Kind: Open, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.live.find(name)
	if err == nil && f.live.nodes[id].dir {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, fail(name, err)
	}
	f.files++
	return &file{fs: f, id: id, name: name, read: true}, nil
}

// Create implements durable.FS.
func (f *FS) Create(name string) (durable.File, error) {
	if err := f.begin(Op{Kind: Create, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.make(Create, name)
	if err != nil {
		return nil, fail(name, err)
	}
	f.files++
	return &file{fs: f, id: id, name: name, read: true, write: true}, nil
}

// Append implements durable.FS. Where the file is missing, the hook sees Append and the log has Create.
func (f *FS) Append(name string) (durable.File, error) {
	if err := f.begin(Op{Kind: Append, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.findOrMake(name)
	if err != nil {
		return nil, fail(name, err)
	}
	f.files++
	return &file{fs: f, id: id, name: name, write: true, append: true}, nil
}

// Mkdir implements durable.FS.
func (f *FS) Mkdir(name string) error {
	if err := f.begin(Op{Kind: Mkdir, Name: name}); err != nil {
		return err
	}
	defer f.mu.Unlock()
	_, err := f.make(Mkdir, name)
	return fail(name, err)
}

// make makes an empty file or folder. The name must be free.
func (f *FS) make(kind Kind, name string) (int, error) {
	dir, err := f.live.find(path.Dir(name))
	if err != nil {
		return 0, err
	}
	switch _, err := f.live.find(name); err {
	case syscall.ENOENT:
	case nil:
		return 0, syscall.EEXIST
	default:
		return 0, err
	}
	op := Op{Kind: kind, Name: name, id: len(f.live.nodes), dir: dir}
	f.do(op)
	return op.id, nil
}

func (f *FS) findOrMake(name string) (int, error) {
	id, err := f.live.find(name)
	switch {
	case err == syscall.ENOENT:
		return f.make(Create, name)
	case err == nil && f.live.nodes[id].dir:
		return 0, syscall.EISDIR
	}
	return id, err
}

// Rename implements durable.FS. Like rename(2), it does nothing if both names are of the same file. A crash in the
// middle of a rename can leave such names.
func (f *FS) Rename(oldname, newname string) error {
	op := Op{Kind: Rename, Name: oldname, To: newname}
	if err := f.begin(op); err != nil {
		return err
	}
	defer f.mu.Unlock()
	return fail(oldname+" to "+newname, f.rename(op))
}

func (f *FS) rename(op Op) (err error) {
	if op.id, err = f.live.find(op.Name); err != nil {
		return err
	}
	if op.toDir, err = f.live.findDir(path.Dir(op.To)); err != nil {
		return err
	}
	if op.Name == "." || strings.HasPrefix(op.To, op.Name+"/") {
		return syscall.EINVAL
	}
	switch target, err := f.live.find(op.To); {
	case err == nil && target == op.id:
		return nil
	case err == nil:
		if err := f.live.replaceable(op.id, target); err != nil {
			return err
		}
	case err != syscall.ENOENT:
		return err
	}
	op.dir, err = f.live.find(path.Dir(op.Name))
	f.do(op)
	return err
}

// Remove implements durable.FS.
func (f *FS) Remove(name string) error {
	op := Op{Kind: Remove, Name: name}
	if err := f.begin(op); err != nil {
		return err
	}
	defer f.mu.Unlock()
	id, err := f.live.find(name)
	switch {
	case err != nil:
	case id == 0:
		err = syscall.EINVAL
	case len(f.live.nodes[id].entries) > 0:
		err = syscall.ENOTEMPTY
	default:
		op.id = id
		op.dir, _ = f.live.find(path.Dir(name))
		f.do(op)
	}
	return fail(name, err)
}

// ReadDir implements durable.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.begin(Op{Kind: ReadDir, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.live.findDir(name)
	if err != nil {
		return nil, fail(name, err)
	}
	var entries []fs.DirEntry
	for _, base := range f.live.names(id) {
		entries = append(entries, fs.FileInfoToDirEntry(f.live.stat(base, f.live.nodes[id].entries[base])))
	}
	return entries, nil
}

// Stat implements durable.FS. Times are zero.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if err := f.begin(Op{Kind: Stat, Name: name}); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	id, err := f.live.find(name)
	if err != nil {
		return nil, fail(name, err)
	}
	return f.live.stat(path.Base(name), id), nil
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	if !fs.ValidPath(name) {
		return fail(name, fs.ErrInvalid)
	}
	injected := f.ask(Op{Kind: SyncDir, Name: name})
	f.mu.Lock()
	defer f.mu.Unlock()
	id, err := f.live.findDir(name)
	if err != nil {
		return fail(name, err)
	}
	f.do(Op{Kind: SyncDir, Name: name, Failed: injected != nil, id: id})
	return injected
}

// fail puts the name before the reason. It returns nil for nil.
func fail(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
