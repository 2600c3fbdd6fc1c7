// Package crashfs is a durable.FS in memory that remembers every change, and from that builds the states in which a
// crash may leave a disk. It is for tests.
//
// # What a crash leaves
//
// After the first k operations the machine stops. What was synced is there; of the rest, each of these survives or not
// on its own, in any combination, as POSIX leaves it open (fsync(2), rename(2)) and file systems have shown (Pillai et
// al., "All File Systems Are Not Created Equal", OSDI 2014). An operation that is cut off in the middle needs no case of
// its own: what it did is what the next k may lose.
//
//   - A write since the file's last Sync is there whole; or absent; or its first bytes only, cut at a sector of 512
//     bytes, or at any byte where the write is no longer than a sector; or its last sectors only, with what was there
//     before, or zeros, ahead of them. Where a write makes the file longer, the length may be there without the data,
//     or with the first sectors of it: the rest reads as zeros (delayed allocation in ext4 and XFS). The length of a
//     file follows what survived, and holes read as zeros.
//   - A Create, Mkdir or Remove since the last SyncDir of its folder happened or did not. A file or folder that has no
//     name left is gone, with all that is in it, synced or not.
//   - A Rename of a file since the last SyncDir of either folder happened, or did not, or left the file under both
//     names. The new name means the file it had or the file it got, never nothing. Where only the folder of the new name
//     was synced, the old name may still be there; where only that of the old name was, the whole rename may be lost. A
//     folder is never under two names.
//   - What a failed Sync or SyncDir was to make durable stays in doubt for good, whatever later ones return: kernels
//     mark the pages clean (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
//
// It is more than any one file system does: two writes to one sector may survive apart, and so may a rename and the
// later use of its old name. It never leaves bytes in a file that were not written to it, except zeros.
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

// FS is a folder in memory with the log of its changes. All methods may be called concurrently.
type FS struct {
	mu   sync.Mutex
	base tree // before the first operation; durable
	live tree // after the last
	ops  []Op
	hook func(Op) error

	locks map[int]int // by file: how many share it, or -1
	maps  map[*byte]bool
	files int // open
}

var _ durable.FS = (*FS)(nil)

// New returns an empty folder.
func New() *FS {
	return newFS(&tree{token: new(token), nodes: []*node{{dir: true, entries: map[string]int{}}}}, nil)
}

// newFS returns base as it is after ops.
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

// Ops returns the changes since New or the crash, in order: creates, writes, syncs and so on, also a Sync or SyncDir that
// was made to fail, but nothing that only looks, and no locks.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// Files returns the contents of every file by its name. They are not to be changed.
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

// Clone returns a copy with its own future. It has the log, but no open files, maps, locks or hook.
func (f *FS) Clone() *FS { return f.Kill(f.Len()) }

// Kill returns what the next process finds if the one before was killed after the first k operations, and the machine
// went on: all that was done is there, and what was not synced may still be lost in a crash. Its log has k operations.
func (f *FS) Kill(k int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return newFS(&f.base, slices.Clone(f.ops[:k]))
}

// InUse returns how many files are open, maps not yet unmapped and locks held: 0 at the end of a test without leaks.
func (f *FS) InUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.files + len(f.maps)
	for _, held := range f.locks {
		n += max(held, -held)
	}
	return n
}

// Inject has hook called before every operation, also those that only look, and fails those for which it returns an
// error with that error and the name. They have no effect, but a failed Close closes, a failed Sync or SyncDir leaves
// doubt, and a write for which the error is a *Short is done in part. Nil ends it. The hook may use f, but is then
// called for that as well. An operation that was begun before Inject may still miss the new hook.
func (f *FS) Inject(hook func(op Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// ask calls the hook, without the mutex.
func (f *FS) ask(op Op) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return fail(op.Name, hook(op))
}

// begin asks the hook and checks the name, and then takes the mutex. On error it is not taken.
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

// make makes an empty file or folder of a name that is free.
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

// Rename implements durable.FS. As in rename(2), it does nothing where both names are of one file, which happens after
// a crash in the middle of a rename.
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

// fail puts the name before the reason. It passes nil.
func fail(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
