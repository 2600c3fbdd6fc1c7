package tree

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"castar/store"
)

// Root is where a closure begins, with what to call it in errors.
type Root struct {
	Name string
	Node store.Node
}

// Mark adds to set all that the roots reach: directories, blobs, and the chunks of blobs that have some. Each directory
// is read once, several at the same time. The error of what is missing is store.ErrNotFound, and names a path that leads
// there; Mark ends with the first error, for what is below it is not known.
// Trees may be of any depth.
func Mark(ctx context.Context, st *store.Store, roots []Root, set store.ObjectSet) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &marker{ctx: ctx, st: st, set: set}
	m.more = sync.NewCond(&m.mu)
	for _, r := range roots {
		if err := m.node(r.Node, r.Name, nil); err != nil {
			return err
		}
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(m.work)
	}
	workers.Wait()
	return m.err
}

// marker is a walk of several goroutines. Deep directories come first, so that few wait at any time.
type marker struct {
	ctx context.Context
	st  *store.Store
	set store.ObjectSet

	mu      sync.Mutex
	more    *sync.Cond
	waiting []markedDirectory
	busy    int
	err     error
}

type markedDirectory struct {
	digest store.Digest
	root   string // its name
	at     *place
}

// work marks directories until none is left, or an error.
func (m *marker) work() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for len(m.waiting) == 0 && m.busy > 0 && m.err == nil {
			m.more.Wait()
		}
		if len(m.waiting) == 0 || m.err != nil {
			return
		}
		d := m.waiting[len(m.waiting)-1]
		m.waiting = m.waiting[:len(m.waiting)-1]
		m.busy++
		m.mu.Unlock()
		err := m.directory(d)
		m.mu.Lock()
		m.busy--
		if m.err == nil {
			m.err = err
		}
		m.more.Broadcast()
	}
}

// directory marks what a directory refers to.
func (m *marker) directory(d markedDirectory) error {
	dir, err := m.st.Directories.Get(m.ctx, d.digest)
	if err == nil {
		err = m.ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.at.in(d.root), err)
	}
	for i := range dir {
		if err := m.node(dir[i], d.root, d.at); err != nil {
			return err
		}
	}
	return nil
}

// node marks a node, an entry of the directory at up or, where that is nil, a root, and has a directory that is new read
// later.
func (m *marker) node(n store.Node, root string, up *place) error {
	if n.Kind == store.KindSymlink {
		return nil
	}
	at := func() *place {
		if up == nil {
			return rootPlace()
		}
		return up.child(n.Name)
	}
	added, err := m.set.Add(n.Kind, n.Digest)
	if err == nil && added && n.Kind == store.KindFile {
		err = m.chunks(n.Digest)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at().in(root), err)
	}
	if !added || n.Kind == store.KindFile {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, markedDirectory{n.Digest, root, at()})
	m.more.Signal()
	return nil
}

// chunks marks what a blob is made of.
func (m *marker) chunks(d store.Digest) error {
	chunks, err := m.st.Blobs.Chunks(m.ctx, d)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if _, err := m.set.Add(store.KindFile, c.Digest); err != nil {
			return fmt.Errorf("chunk %w", err)
		}
	}
	return nil
}
