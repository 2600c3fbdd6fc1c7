package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"castar/store"
)

// walker is the walk that the others of this package are made of. It tells its functions what it meets, and reads only
// the directories that they want. An error of a function ends the walk. A nil function does nothing.
type walker struct {
	ctx     context.Context
	ds      store.Directories
	deepest int // the last level whose directories are read; 0 is store.MaxDepth

	// enter takes each node, and reports whether to read the directory that it is.
	enter func(at *trail, n *store.Node) (bool, error)
	// skip reports that enter does not want a directory, so it need not be read ahead.
	skip func(store.Digest) bool
	// open takes each directory that was read, and reports whether to visit what is in it.
	open func(at *trail, n *store.Node, dir store.Directory) (bool, error)
	// leave is called when all in and below a directory was visited.
	leave func(at *trail)
	// failed takes the error of a directory that cannot be read. If it is nil, such an error ends the walk.
	failed func(at *trail, n *store.Node, err error) error
}

// errStop ends a walk early.
var errStop = errors.New("tree: stop of a walk")

// anyDepth is the deepest level of walks that go down however far a tree goes.
const anyDepth = math.MaxInt

// aheadWindow is how many entries of each directory on the way down are looked at for directories to read ahead.
const aheadWindow = 256

// level is a directory on the way down.
type level struct {
	at    *trail
	dir   store.Directory // in path order
	next  int             // entry to visit
	ahead int             // entry to read ahead
}

// inOrder visits the node n and what is below it in the order of Walk, in one goroutine. It holds the directories on
// the way down, and what a reader holds. errStop is no error.
func (w *walker) inOrder(at *trail, n store.Node) error {
	r := newReader(w.ctx, w.ds, cmp.Or(w.deepest, store.MaxDepth))
	defer r.close()
	var levels []level
	visit := func(at *trail, n *store.Node) error {
		into, err := w.enter(at, n)
		if err != nil || !into || n.Kind != store.KindDirectory {
			return err
		}
		dir, into, err := w.read(r, at, n)
		if into {
			levels = append(levels, level{at: at, dir: inPathOrder(dir)})
		}
		return err
	}
	err := visit(at, &n)
	for err == nil && len(levels) > 0 {
		l := &levels[len(levels)-1]
		if l.next == len(l.dir) {
			if w.leave != nil {
				w.leave(l.at)
			}
			levels = levels[:len(levels)-1]
			continue
		}
		w.readAhead(r, l)
		n := &l.dir[l.next]
		l.next++
		at := l.at.child(n.Name)
		at.last = l.next == len(l.dir)
		err = visit(at, n)
	}
	if err == errStop {
		return nil
	}
	return err
}

// readAhead begins to read directories that will be visited soon, but not the next entry, which is visited at once.
func (w *walker) readAhead(r *reader, l *level) {
	for l.ahead = max(l.ahead, l.next+1); l.ahead < min(l.next+aheadWindow, len(l.dir)); l.ahead++ {
		if n := &l.dir[l.ahead]; n.Kind == store.KindDirectory && (w.skip == nil || !w.skip(n.Digest)) {
			r.begin(l.at, n.Digest)
		}
	}
}

// read returns the directory n, and whether to visit what is in it.
func (w *walker) read(r *reader, at *trail, n *store.Node) (dir store.Directory, into bool, err error) {
	if dir, err = r.get(at, n.Digest); err != nil {
		if w.failed != nil {
			err = w.failed(at, n, err)
		}
		return nil, false, err
	}
	at.digest = new(n.Digest)
	if w.open == nil {
		return dir, true, nil
	}
	into, err = w.open(at, n, dir)
	return dir, into && err == nil, err
}

// anyOrder visits all roots and what is below them in several goroutines, which call enter, open and failed at the same
// time. It calls neither skip nor leave. Deep directories come first, so few wait at any time.
func (w *walker) anyOrder(roots []Root) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel() // ends the reads of the other goroutines after an error
	p := pile{walker: w, reader: &reader{ctx: ctx, ds: w.ds, deepest: cmp.Or(w.deepest, store.MaxDepth)}, stop: cancel}
	p.more.L = &p.mu
	for i := range roots {
		if err := p.enter(rootTrail(roots[i].Name), &roots[i].Node); err != nil {
			return err
		}
	}
	var workers sync.WaitGroup
	for range max(readJobs, runtime.GOMAXPROCS(0)) {
		workers.Go(p.work)
	}
	workers.Wait()
	return p.err
}

// pile is the directories that wait in a walk of several goroutines.
type pile struct {
	*walker
	reader *reader // reads nothing ahead, so all may use it
	stop   func()

	mu      sync.Mutex
	more    sync.Cond // a directory was added, or the last goroutine that might add one is done
	waiting []waitingDirectory
	busy    int
	err     error // the first one
}

type waitingDirectory struct {
	at   *trail
	node store.Node
}

// enter tells of a node, and adds a directory that is wanted.
func (p *pile) enter(at *trail, n *store.Node) error {
	into, err := p.walker.enter(at, n)
	if err != nil || !into || n.Kind != store.KindDirectory {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, waitingDirectory{at, *n})
	p.more.Signal()
	return nil
}

// work visits directories until none is left, or an error.
func (p *pile) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil {
		last := len(p.waiting) - 1
		if last < 0 && p.busy == 0 {
			return
		}
		if last < 0 {
			p.more.Wait()
			continue
		}
		d := p.waiting[last]
		p.waiting = p.waiting[:last]
		p.busy++
		p.mu.Unlock()
		err := p.visit(d)
		p.mu.Lock()
		p.busy--
		if err != nil && p.err == nil {
			p.err = err
			p.stop()
		}
		if err != nil || p.busy == 0 {
			p.more.Broadcast()
		}
	}
}

// visit reads a directory, and enters what is in it.
func (p *pile) visit(d waitingDirectory) error {
	dir, into, err := p.read(p.reader, d.at, &d.node)
	if err != nil || !into {
		return err
	}
	for i := range dir {
		if err := p.enter(d.at.child(dir[i].Name), &dir[i]); err != nil {
			return err
		}
	}
	return nil
}

// inPathOrder returns the nodes in the order of Walk. It does not change dir.
func inPathOrder(dir store.Directory) store.Directory {
	order := func(a, b store.Node) int {
		return comparePaths(a.Name, a.Kind == store.KindDirectory, b.Name, b.Kind == store.KindDirectory)
	}
	if slices.IsSortedFunc(dir, order) {
		return dir
	}
	return slices.SortedFunc(slices.Values(dir), order)
}

// comparePaths compares two different names of one directory, with a slash at the end of those that say so.
func comparePaths(a string, aSlash bool, b string, bSlash bool) int {
	n := min(len(a), len(b))
	return cmp.Or(strings.Compare(a[:n], b[:n]), next(a, aSlash, n)-next(b, bSlash, n))
}

// next returns the byte of name at n, which may be the slash after it, or -1.
func next(name string, slash bool, n int) int {
	switch {
	case n < len(name):
		return int(name[n])
	case slash:
		return '/'
	}
	return -1
}

// trail is the way from a root down to a node. It is a chain, so a walk holds no path for each of its levels.
type trail struct {
	up     *trail        // to the directory that holds the node; nil for a root
	name   string        // of a root: what errors call it, or ""
	digest *store.Digest // of the directory that a walk has read here
	depth  int           // 1 for a root
	last   bool          // nothing follows in the same directory
}

func rootTrail(name string) *trail { return &trail{name: name, depth: 1, last: true} }

// trailOf returns the trail to a path below a root without a name.
func trailOf(path string) *trail {
	at := rootTrail("")
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			at = at.child(name)
		}
	}
	return at
}

// child returns the trail of an entry of the directory at t.
func (t *trail) child(name string) *trail { return &trail{up: t, name: name, depth: t.depth + 1} }

// path returns the path from the root, or "" for the root itself.
func (t *trail) path() string {
	names := make([]string, 0, 32) // not on the heap
	if t.depth > cap(names) {
		names = make([]string, 0, t.depth)
	}
	for ; t.up != nil; t = t.up {
		names = append(names, t.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

// String returns the path as errors say it: after the name of the root, if that has one, and shortened if it is very
// long. A root without a name is ".".
func (t *trail) String() string {
	path, root := store.ShortPath(t.path()), t.root()
	if path == "" || root == "" {
		return cmp.Or(root, path, ".")
	}
	return root + ":" + path
}

func (t *trail) root() string {
	for t.up != nil {
		t = t.up
	}
	return t.name
}

// wrap puts the path before an error.
func (t *trail) wrap(err error) error { return fmt.Errorf("%s: %w", t, err) }

// addAbove adds the directories above the node to a set that has, with any of them, those above it.
func (t *trail) addAbove(set store.ObjectSet) {
	for up := t.up; up != nil; up = up.up {
		if isNew, _ := set.Add(store.KindDirectory, *up.digest); !isNew {
			return
		}
	}
}
