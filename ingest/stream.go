package ingest

import (
	"context"
	"io"
	"sync/atomic"

	"castar/store"
)

// Stream stores everything that r has as one file. The root is that file if name is "", and otherwise a directory with
// a file of that name. It uses these fields of o: SizeRule and Progress.
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
	n, err := io.Copy(blob, &input{ctx: ctx, r: r, bytes: &l.o.Progress.Bytes})
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

// input reads what r has until a context ends, and keeps the error of both.
type input struct {
	ctx   context.Context
	r     io.Reader
	bytes *atomic.Uint64 // counts what is read; may be nil
	err   error
}

func (in *input) Read(p []byte) (int, error) {
	if in.err = in.ctx.Err(); in.err != nil {
		return 0, in.err
	}
	n, err := in.r.Read(p)
	if in.bytes != nil {
		in.bytes.Add(uint64(n))
	}
	if err != io.EOF {
		in.err = err
	}
	return n, err
}
