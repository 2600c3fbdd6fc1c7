package ingest

import (
	"context"
	"io"

	"castar/store"
)

// Stream stores everything that r has as one file. The root is that file if name is "", and otherwise a directory with a
// file of that name. Of o, it uses SizeRule and Progress.
func Stream(ctx context.Context, st *store.Store, r io.Reader, name string, o Options) (Result, error) {
	l := newLoader(ctx, st, o)
	defer l.close()
	if name != "" {
		if err := store.ValidateName(name); err != nil {
			return Result{}, err
		}
	}
	blob, err := l.st.Blobs.Create(ctx)
	if err != nil {
		return Result{}, err
	}
	defer blob.Close()
	n, err := io.Copy(blob, &progressReader{&interruptible{ctx, r}, l.o.Progress})
	if err != nil {
		return Result{}, err
	}
	file := store.Node{Kind: store.KindFile, Size: uint64(n)}
	if file.Digest, err = blob.Commit(); err != nil {
		return Result{}, err
	}
	l.o.Progress.Files.Add(1)
	if name == "" {
		l.single = file
	} else if err := l.tree.set(&l.tree.root, name, file); err != nil {
		return Result{}, err
	}
	return l.finish()
}

// progressReader counts bytes as they are read.
type progressReader struct {
	r io.Reader
	p *Progress
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.p.Bytes.Add(uint64(n))
	return n, err
}
