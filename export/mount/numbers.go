//go:build linux

package mount

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"castar/store"
)

// Inode numbers
//
// The size that a directory's parent records is an upper bound of the number of entries below it, at all depths. So a
// directory with the number N and the size S owns the numbers N+1 to N+S, and hands them out in the order of its names:
// each entry takes one, and a directory also as many as its size. Every path of a tree has a number of its own, a
// directory that occurs twice has two, and a tree has the same numbers whenever it is mounted.
//
// The other way, a number leads from the root to its entry by one binary search a level. So nothing need be remembered
// for what the kernel knows: a number is all there is to a file.

// maxSize is the greatest size of a tree that can be mounted. Sizes may be too large, but none this large is honest.
const maxSize = 1 << 62

// mountpoint is the number of the mount's own directory, as FUSE has it.
const mountpoint = 1

// directory is a directory with the numbers of its entries.
type directory struct {
	entries store.Directory
	offsets []uint64 // of the number of each entry from that of the directory
}

// newDirectory numbers the entries of a directory whose parent records a size. It is damaged if it has more entries.
func newDirectory(dir store.Directory, size uint64) (*directory, error) {
	need, err := dir.Size(store.SizeDocumented)
	if err == nil && need > size {
		err = fmt.Errorf("there are %d entries below it, but its parent records only %d", need, size)
	}
	if err != nil {
		return nil, err
	}
	l := &directory{dir, make([]uint64, len(dir))}
	next := uint64(1)
	for i := range dir {
		l.offsets[i] = next
		next++
		if dir[i].Kind == store.KindDirectory {
			next += dir[i].Size
		}
	}
	return l, nil
}

// find returns the index of the entry of that name, or -1.
func (l *directory) find(name string) int {
	i, ok := slices.BinarySearchFunc(l.entries, name, func(n store.Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return -1
	}
	return i
}

// owner returns the index of the entry that has a number, or is above the one that has it, or -1. offset is that of the
// number from the directory's.
func (l *directory) owner(offset uint64) int {
	i := sort.Search(len(l.offsets), func(i int) bool { return l.offsets[i] > offset }) - 1
	if i < 0 || offset == l.offsets[i] {
		return i
	}
	if n := &l.entries[i]; n.Kind != store.KindDirectory || offset-l.offsets[i] > n.Size {
		return -1
	}
	return i
}

// weight returns roughly how many bytes of memory the directory takes.
func (l *directory) weight() int64 {
	const perEntry = 120 // a Node, an offset, and what the allocator adds
	w := int64(len(l.entries))*perEntry + 100
	for i := range l.entries {
		w += int64(len(l.entries[i].Name) + len(l.entries[i].Target))
	}
	return w
}

// top is an entry of the mount that is in no tree: a root, or a folder above roots.
type top struct {
	number uint64     // its own; those of its tree follow
	path   string     // in the mount
	folder bool       // it is a folder of roots, and has no node
	node   store.Node // a root
	key    string

	listing store.Digest // what the store keeps of modes and times in its tree, or zero
	inside  string       // the path in the listing of what is mounted

	uses uint64 // how often the kernel was told its number, less how often it forgot that
}

// tops are the entries of the mount that are in no tree and that the kernel knows. Their numbers are hashes, so that they
// are the same in each mount. Their methods may be called concurrently.
type tops struct {
	mu     sync.RWMutex
	sorted []*top // by number
	byKey  map[string]*top
}

// newTops returns tops with the mount's own directory, which is never forgotten.
func newTops(root top) *tops {
	root.number, root.uses = mountpoint, 1
	return &tops{sorted: []*top{&root}, byKey: map[string]*top{}}
}

// after returns the index of the first whose number is greater. The caller holds t.mu.
func (t *tops) after(number uint64) int {
	return sort.Search(len(t.sorted), func(i int) bool { return t.sorted[i].number > number })
}

// at returns what has the number, or is above the one that has it, or nil.
func (t *tops) at(number uint64) *top {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := t.after(number) - 1
	if i < 0 || number-t.sorted[i].number > t.sorted[i].size() {
		return nil
	}
	return t.sorted[i]
}

// place returns t as an entry of the mount.
func (t *top) place() place {
	up, _ := cutLast(t.inside)
	return place{number: t.number, up: mountpoint, top: t, node: t.node, dir: up, inside: t.inside}
}

// size returns how many numbers it has beyond its own.
func (t *top) size() uint64 {
	if !t.folder && t.node.Kind == store.KindDirectory {
		return t.node.Size
	}
	return 0
}

// identity returns text that only the same entry has.
func (t *top) identity() string {
	n := &t.node
	of := fmt.Sprintf("%q %v %v %v %d %v %q", t.path, t.folder, n.Kind, n.Digest, n.Size, n.Executable, n.Target)
	if t.listing != (store.Digest{}) {
		of += " " + t.listing.String()
	}
	return of
}

// use returns the entry like of, which has no number, with the number that it has or gets. The kernel is told the number.
func (t *tops) use(of top) *top {
	of.key = of.identity()
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.byKey[of.key]; known != nil {
		known.uses++
		return known
	}
	for try := 0; ; try++ {
		of.number = number(of.key, try, of.size())
		i := t.after(of.number)
		before := t.sorted[i-1] // the mount's own directory at least
		if of.number-before.number <= before.size() || i < len(t.sorted) && t.sorted[i].number-of.number <= of.size() {
			continue // taken
		}
		of.uses = 1
		t.sorted = slices.Insert(t.sorted, i, &of)
		t.byKey[of.key] = &of
		return &of
	}
}

// likelyNumber returns the number that use gives, if no other entry has it.
func (t *top) likelyNumber() uint64 { return number(t.identity(), 0, t.size()) }

// number returns a number that has room for size more after it, below 1<<63.
func number(key string, try int, size uint64) uint64 {
	const least = 1 << 32
	sum := store.Sum(fmt.Appendf(nil, "%s %d", key, try))
	return least + binary.LittleEndian.Uint64(sum[:])%(1<<63-least-size)
}

// forget says that the kernel forgot a number, which it was told n times. It reports whether that frees numbers.
func (t *tops) forget(number, n uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.after(number) - 1
	if i < 0 || t.sorted[i].number != number || number == mountpoint {
		return false
	}
	e := t.sorted[i]
	e.uses -= min(n, e.uses)
	if e.uses > 0 {
		return false
	}
	t.sorted = slices.Delete(t.sorted, i, i+1)
	delete(t.byKey, e.key)
	return true
}
