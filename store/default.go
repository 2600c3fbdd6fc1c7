package store

import (
	"context"
	"iter"
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
