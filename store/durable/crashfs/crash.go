package crashfs

import (
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is the number of bytes that a disk writes atomically.
const sector = 512

// Crash returns a state that a crash after the first k operations may leave, k from 0 to Len, as a new FS with an empty
// log. It calls choose once for every uncertain change, in an order that depends only on the log, k and the answers so
// far. choose returns one of 0 to n-1: 0 loses the change, n-1 keeps all of it, and the others keep a part.
func (f *FS) Crash(k int, choose func(n int) int) *FS {
	return f.plan(k).state(choose)
}

// States yields states that a crash after the first k operations may leave. If there are no more than limit ways to
// choose, it yields the state of each; several may be equal. Otherwise it yields limit states: first those in which
// nothing and everything survived, then those with one exception, and then random ones that seed determines.
func (f *FS) States(k, limit int, seed uint64) iter.Seq[*FS] {
	return func(yield func(*FS) bool) {
		p := f.plan(k)
		if all, ok := p.all(limit); ok {
			for _, s := range all {
				if !yield(s) {
					return
				}
			}
			return
		}
		n := 0
		for choose := range samples(seed) {
			if n++; n > limit || !yield(p.state(choose)) {
				return
			}
		}
	}
}

// all returns the state of every way to choose, or false if there are more than limit.
func (p *plan) all(limit int) ([]*FS, bool) {
	ways := 1
	for _, c := range p.changes {
		if ways *= c.ways(); ways > limit {
			return nil, false
		}
	}
	var all []*FS
	var o odometer
	for more := true; more; more = o.next() {
		if len(all) == limit {
			return nil, false
		}
		all = append(all, p.state(o.choose))
	}
	return all, true
}

// odometer enumerates the answers to a sequence of questions. Each question may depend on earlier answers.
type odometer struct {
	digits, sizes []int
	pos           int
}

func (o *odometer) choose(n int) int {
	if o.pos == len(o.digits) {
		o.digits, o.sizes = append(o.digits, 0), append(o.sizes, n)
	}
	o.pos++
	return o.digits[o.pos-1]
}

// next moves on to the next sequence of answers. It returns false after the last.
func (o *odometer) next() bool {
	o.pos = 0
	for i := len(o.digits) - 1; i >= 0; i-- {
		if o.digits[i]++; o.digits[i] < o.sizes[i] {
			return true
		}
		o.digits, o.sizes = o.digits[:i], o.sizes[:i]
	}
	return false
}

// samples yields ways to choose, without end: the extremes, each change alone against all others, and random ones. Some
// random ones favor one side, because most faults show when one change of many is lost, or one survives.
func samples(seed uint64) iter.Seq[func(n int) int] {
	none := func(int) int { return 0 }
	every := func(n int) int { return n - 1 }
	return func(yield func(func(n int) int) bool) {
		asked := 0
		count := func(n int) int { asked++; return n - 1 }
		if !yield(none) || !yield(count) {
			return
		}
		for i := range asked {
			if !yield(except(i, every, none)) || !yield(except(i, none, every)) {
				return
			}
		}
		for rng := rand.New(rand.NewPCG(seed, 0)); ; {
			lean, side := rng.Float64(), rng.IntN(3)
			choose := func(n int) int {
				if r := rng.Float64(); side == 0 || r > lean {
					return rng.IntN(n)
				}
				return (side - 1) * (n - 1)
			}
			if !yield(choose) {
				return
			}
		}
	}
}

// except answers question i with other, and the rest with most.
func except(i int, most, other func(n int) int) func(n int) int {
	asked := -1
	return func(n int) int {
		if asked++; asked == i {
			return other(n)
		}
		return most(n)
	}
}

// plan is the certain and the uncertain part of the disk after a number of operations.
type plan struct {
	disk    tree
	changes []change            // of names, in order
	writes  map[int][]lateWrite // by file, in order
}

// fate says whether a change is on disk.
type fate uint8

const (
	pending  fate = iota // it may be, and will be after the next sync
	doubtful             // it may be, and no sync changes that
	settled              // it is
)

// sync returns the fate after a sync.
func (f fate) sync(failed bool) fate {
	switch {
	case f != pending:
		return f
	case failed:
		return doubtful
	}
	return settled
}

// lateWrite is a write that is uncertain, or follows an uncertain write to the same file.
type lateWrite struct {
	off  int64
	data []byte
	fate fate
}

// plan replays the first k operations.
func (f *FS) plan(k int) *plan {
	f.mu.Lock()
	p := &plan{disk: f.base.clone(), writes: map[int][]lateWrite{}}
	ops := f.ops[:k]
	f.mu.Unlock()
	for _, op := range ops {
		switch op.Kind {
		case Create, Mkdir:
			p.disk.add(op.Kind == Mkdir)
			p.changes = append(p.changes, newChange(op, false))
		case Rename, Remove:
			p.changes = append(p.changes, newChange(op, p.disk.nodes[op.id].dir))
		case Write:
			p.writes[op.id] = append(p.writes[op.id], lateWrite{off: op.Off, data: op.data})
		case Sync:
			p.sync(op.id, op.Failed)
		case SyncDir:
			p.syncDir(op.id, op.Failed)
		}
	}
	return p
}

// sync settles the writes of a file, and applies those that follow no uncertain write.
func (p *plan) sync(id int, failed bool) {
	writes := p.writes[id]
	for i := range writes {
		writes[i].fate = writes[i].fate.sync(failed)
	}
	for len(writes) > 0 && writes[0].fate == settled {
		p.disk.write(id, writes[0].off, writes[0].data)
		writes = writes[1:]
	}
	p.writes[id] = writes
}

// syncDir settles the changes of names in a folder, and applies those that follow no uncertain change.
func (p *plan) syncDir(dir int, failed bool) {
	for i := range p.changes {
		c := &p.changes[i]
		if c.dir == dir {
			c.unlinked = c.unlinked.sync(failed)
		}
		if c.toDir == dir {
			c.linked = c.linked.sync(failed)
		}
	}
	for len(p.changes) > 0 && p.changes[0].ways() == 1 {
		p.changes[0].apply(&p.disk, nil)
		p.changes = p.changes[1:]
	}
}

// state decides all uncertain changes: first the names, and then the contents of files that have a name.
func (p *plan) state(choose func(n int) int) *FS {
	disk := p.disk.clone()
	for i := range p.changes {
		p.changes[i].apply(&disk, choose)
	}
	named := map[int]bool{}
	disk.walk(0, ".", func(_ string, id int) { named[id] = true })
	for _, id := range slices.Sorted(maps.Keys(p.writes)) {
		if !named[id] {
			continue
		}
		for _, w := range p.writes[id] {
			w.apply(&disk, id, choose)
		}
	}
	return newFS(&disk, nil)
}
