package store

import (
	"context"
	"fmt"
	"iter"
	"sync"
)

// WalkByGet implements Directories.Walk by Get alone, breadth first. Use it in stores that have nothing better.
func WalkByGet(ctx context.Context, ds Directories, root Digest) iter.Seq2[NamedDirectory, error] {
	return WalkRest(ctx, ds, map[Digest]struct{}{}, root)
}

// WalkRest is WalkByGet for what several directories lead to, but for what seen has. It adds to seen what it yields.
func WalkRest(ctx context.Context, ds Directories, seen map[Digest]struct{}, queue ...Digest) iter.Seq2[NamedDirectory, error] {
	return func(yield func(NamedDirectory, error) bool) {
		for _, d := range queue {
			seen[d] = struct{}{}
		}
		for len(queue) > 0 {
			d := queue[0]
			queue = queue[1:]
			dir, err := ds.Get(ctx, d)
			if err != nil {
				yield(NamedDirectory{Digest: d}, About("directory", d, err))
				return
			}
			if !yield(NamedDirectory{d, dir}, nil) {
				return
			}
			for i := range dir {
				if _, ok := seen[dir[i].Digest]; dir[i].Kind == KindDirectory && !ok {
					seen[dir[i].Digest] = struct{}{}
					queue = append(queue, dir[i].Digest)
				}
			}
		}
	}
}

// UploadByPut implements Directories.Upload by Put alone. Use it in stores that keep each directory by itself.
func UploadByPut(ds Directories) DirectoryWriter { return putWriter{ds} }

type putWriter struct{ ds Directories }

func (w putWriter) Put(ctx context.Context, dir Directory) (Digest, error) { return w.ds.Put(ctx, dir) }
func (w putWriter) Commit(context.Context, Digest) error                   { return nil }
func (w putWriter) Close() error                                           { return nil }

// Overlay is directories in memory, encoded, over others that it does not change. It may be used concurrently.
type Overlay struct {
	Under    Directories // nil: none
	mu       sync.RWMutex
	messages map[Digest][]byte
}

// Get implements Directories.
func (o *Overlay) Get(ctx context.Context, d Digest) (Directory, error) {
	o.mu.RLock()
	message, ok := o.messages[d]
	o.mu.RUnlock()
	switch {
	case ok:
		return DecodeDirectory(message)
	case o.Under != nil:
		return o.Under.Get(ctx, d)
	}
	return nil, fmt.Errorf("directory %s: %w", d, ErrNotFound)
}

// Put implements Directories. It keeps the directory in memory.
func (o *Overlay) Put(_ context.Context, dir Directory) (Digest, error) {
	message, err := EncodeDirectory(dir)
	if err != nil {
		return Digest{}, err
	}
	d := Sum(message)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.messages == nil {
		o.messages = map[Digest][]byte{}
	}
	o.messages[d] = message
	return d, nil
}

// Walk implements Directories.
func (o *Overlay) Walk(ctx context.Context, root Digest) iter.Seq2[NamedDirectory, error] {
	return WalkByGet(ctx, o, root)
}

// Upload implements Directories.
func (o *Overlay) Upload(context.Context) (DirectoryWriter, error) { return UploadByPut(o), nil }

// ClosureCheck checks the directories of a closure as they come, each after one that refers to it. It remembers a digest
// for each. It is not for concurrent use.
type ClosureCheck struct {
	Strays int             // how many directories may come although none before them refers to them
	came   map[Digest]bool // for each that came, or that one of those refers to
}

// NewClosureCheck returns a check of the closure of root, in which nothing may stray.
func NewClosureCheck(root Digest) *ClosureCheck {
	return &ClosureCheck{came: map[Digest]bool{root: false}}
}

// Next decodes a directory, or reports that it has come before.
func (c *ClosureCheck) Next(message []byte) (named NamedDirectory, again bool, err error) {
	d := Sum(message)
	switch came, known := c.came[d]; {
	case came:
		return named, true, nil
	case !known && c.Strays == 0:
		return named, false, fmt.Errorf("directory %s: nothing before it refers to it", d)
	case !known:
		c.Strays--
	}
	dir, err := DecodeDirectory(message)
	if err != nil {
		return named, false, About("directory", d, err)
	}
	c.came[d] = true
	for i := range dir {
		if _, known := c.came[dir[i].Digest]; dir[i].Kind == KindDirectory && !known {
			c.came[dir[i].Digest] = false
		}
	}
	return NamedDirectory{d, dir}, false, nil
}

// Missing returns the directories that the root leads to and that have not come, in no order.
func (c *ClosureCheck) Missing() (all []Digest) {
	for d, came := range c.came {
		if !came {
			all = append(all, d)
		}
	}
	return all
}
