package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"castar/store"
)

// blob copies what a file node refers to, unless the destination has it, and compares the size that the node records. isNew
// says that the destination lacked it; only the first caller hears that.
func (r *rootCopy) blob(n *store.Node, at *trail) (ok, isNew bool) {
	if size, taken := r.groups.took(n.Digest); taken {
		added, err := r.seen.Add(store.KindFile, n.Digest)
		if isNew = added || err != nil; isNew {
			r.count(n, true)
		}
		return r.sameSize(n, size, at), isNew
	}
	if !r.claim(n.Digest) {
		return r.copied(n.Digest) && r.checkSize(n, at), false
	}
	defer r.settle(n.Digest)
	has, err := r.has(r.ctx, n.Digest)
	if err != nil {
		r.cancel(at.wrap(err))
		return false, false
	}
	if !has && !r.o.DryRun && !r.copyBlob(n, at) {
		r.count(n, false)
		return false, true
	}
	_, taken := r.groups.took(n.Digest) // since it was asked for
	isNew = !has || taken || r.groups.has(n.Digest)
	r.count(n, isNew)
	return !has && !r.o.DryRun || r.checkSize(n, at), isNew
}

func (r *rootCopy) count(n *store.Node, isNew bool) {
	r.o.Progress.Blobs.Add(1)
	r.o.Progress.Bytes.Add(n.Size)
	if isNew {
		r.o.Progress.NewBlobs.Add(1)
		r.o.Progress.NewBytes.Add(n.Size)
	}
}

// has reports whether the destination has the blob d.
func (c *Copier) has(ctx context.Context, d store.Digest) (bool, error) {
	if c.asked == nil || !c.asked.Has(store.KindFile, d) {
		return c.to.Blobs.Has(ctx, d)
	}
	return c.there.Has(store.KindFile, d) || c.groups.has(d), nil
}

// askedAtOnce is how many blobs a remote destination is asked about while nothing else happens.
const askedAtOnce = 8192

// ask asks a remote destination which blobs of a closure it has. What it does not answer is asked for again, one by one.
func (c *Copier) ask(ctx context.Context, root Root) {
	if c.asked == nil {
		return
	}
	ds := make([]store.Digest, 0, askedAtOnce)
	answer := func() {
		has, err := c.to.RemoteBlobs.HasAll(ctx, ds)
		for i := 0; i < len(ds) && err == nil; i++ {
			if has[i] {
				_, err = c.there.Add(store.KindFile, ds[i])
			}
			if err == nil {
				_, err = c.asked.Add(store.KindFile, ds[i])
			}
		}
		ds = ds[:0]
	}
	met := func(d store.Digest) bool { return c.seen.Has(store.KindFile, d) }
	for d := range files(ctx, c.from.Directories, []Root{root}, met) {
		if ds = append(ds, d); len(ds) == askedAtOnce {
			answer()
		}
	}
	answer()
}

// claim reports whether the caller is the first to meet a blob. Then it must settle it.
func (r *rootCopy) claim(d store.Digest) bool {
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	if added, err := r.seen.Add(store.KindFile, d); err == nil && !added {
		return false
	}
	if _, ok := r.copying[d]; !ok { // else the set could not take it
		r.copying[d] = nil
	}
	return true
}

// settle lets those go on that wait for a blob.
func (r *rootCopy) settle(d store.Digest) {
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	done := r.copying[d]
	delete(r.copying, d)
	if done != nil {
		close(done)
	}
}

// copied waits until a blob that was met before is settled, and reports whether the destination has it.
func (r *rootCopy) copied(d store.Digest) bool {
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	if done, ok := r.copying[d]; ok {
		if done == nil {
			done = make(chan struct{})
			r.copying[d] = done
		}
		r.Copier.mu.Unlock()
		select {
		case <-done:
		case <-r.ctx.Done():
		}
		r.Copier.mu.Lock()
	}
	return !r.failed[d]
}

// copyBlob copies what a file node refers to, and compares the size that the node records.
func (r *rootCopy) copyBlob(n *store.Node, at *trail) bool {
	switch ok, err := r.groups.blob(r.ctx, n.Digest); {
	case err != nil:
		r.cancel(at.wrap(err))
		return false
	case ok:
		return r.checkSize(n, at)
	}
	r.jobs <- struct{}{}
	defer func() { <-r.jobs }()
	err := CopyBlob(r.ctx, r.from.Blobs, r.to.Blobs, *n)
	from, isSource := errors.AsType[*sourceError](err)
	r.Copier.mu.Lock()
	switch {
	case isSource:
		r.failed[n.Digest] = true
	case err == nil && r.from.Scrubber == nil && r.to.Scrubber == nil:
		r.sizes[n.Digest] = n.Size
	}
	r.Copier.mu.Unlock()
	switch {
	case isSource:
		r.problem(at, from.error)
	case err != nil:
		r.cancel(at.wrap(err))
	}
	return err == nil
}

// checkSize compares the size that a file node records with that of the blob, if a store tells it without reading the
// blob.
func (r *rootCopy) checkSize(n *store.Node, at *trail) bool {
	size, known := r.blobSize(n.Digest)
	if !known {
		r.o.Progress.Unchecked.Add(1)
		return true
	}
	return r.sameSize(n, size, at)
}

// sameSize compares the size that a file node records with that of the blob.
func (r *rootCopy) sameSize(n *store.Node, size uint64, at *trail) bool {
	if size != n.Size {
		r.problem(at, wrongSize(*n, size))
	}
	return size == n.Size
}

// blobSize returns the length of a blob that one of the stores has.
func (r *rootCopy) blobSize(d store.Digest) (size uint64, known bool) {
	for _, st := range []*store.Store{r.from, r.to} {
		if st.Scrubber != nil {
			if size, err := st.Scrubber.BlobSize(r.ctx, d); err == nil {
				return size, true
			}
		}
	}
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	size, known = r.sizes[d]
	return size, known
}

// sourceError is an error of the store that is copied from.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// CopyBlob copies the blob that a file node refers to. The blob is checked against its digest and the node's size
// before the destination has it.
func CopyBlob(ctx context.Context, from, to store.Blobs, n store.Node) error {
	const small = 1 << 20
	b, err := OpenFile(ctx, &store.Store{Blobs: from}, n)
	if err != nil {
		return &sourceError{err}
	}
	defer b.Close()
	var got store.Digest
	if n.Size <= small {
		buf := bytes.NewBuffer(make([]byte, 0, n.Size))
		if _, err := b.WriteTo(buf); err != nil {
			return &sourceError{err}
		}
		got, err = to.Put(ctx, buf.Bytes())
	} else {
		got, err = stream(ctx, b, to)
	}
	if err == nil && got != n.Digest {
		err = &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("destination calls it %s", got)}
	}
	return err
}

func stream(ctx context.Context, b store.Blob, to store.Blobs) (d store.Digest, err error) {
	w, err := to.Create(ctx)
	if err != nil {
		return d, err
	}
	defer w.Close()
	t := &trackedWriter{w: w}
	if _, err := b.WriteTo(t); err != nil {
		if t.err != nil {
			return d, t.err
		}
		return d, &sourceError{err}
	}
	return w.Commit()
}

// trackedWriter remembers whether it was the destination that failed.
type trackedWriter struct {
	w   store.BlobWriter
	err error
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.err = err
	return n, err
}
