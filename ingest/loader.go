package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"castar/ingest/decompress"
	"castar/store"
)

// loader stores the members of an archive, which come one after the other. It collects small files in batches, which
// goroutines store at the same time. Then it adds the members to the tree in the order in which they came.
type loader struct {
	ctx      context.Context
	stop     context.CancelFunc
	st       *store.Store
	o        Options
	tree     *grower
	at       *branch    // the directory that members without a path belong to
	single   store.Node // the root, if it is not a directory
	lanes    chan store.Blobs
	filling  *batch
	queue    []*batch // handed to goroutines, oldest first
	spare    [][]byte // buffers for batches
	problems problems
}

// batch is successive members. Its buffer holds the contents of the small files among them.
type batch struct {
	members []member
	buf     []byte
	done    chan struct{} // closed when all contents are stored, or err is set
	err     error
}

const (
	// batchBytes is the size of a batch's buffer. A longer file is streamed to the store.
	batchBytes = 1 << 20
	// batchMembers is how many members a batch has at most.
	batchMembers = 512
	// maxLoaderJobs is the default number of batches at once. One goroutine reads, and does not feed more.
	maxLoaderJobs = 16
	// maxProblems is how many members may be left out. An archive with more is not worth reading on.
	maxProblems = 10_000
)

// member is an entry of an archive, and how it changes the tree.
type member struct {
	apply func(*loader, *member) error
	name  string     // as the archive has it
	path  string     // of the entry, clean
	node  store.Node // without a name; its digest may still be missing
	data  []byte     // contents of a file that are yet to be stored, or nil
	link  string     // the path that a hard link leads to, clean
	err   error      // why the member cannot be stored
}

func newLoader(ctx context.Context, st *store.Store, o Options) *loader {
	st = o.complete(st, min(defaultJobs(), maxLoaderJobs))
	l := &loader{st: st, o: o, tree: newGrower(), lanes: make(chan store.Blobs, o.Jobs), filling: new(batch)}
	l.at = &l.tree.root
	for range o.Jobs {
		l.lanes <- st.Lane()
	}
	l.ctx, l.stop = context.WithCancel(ctx)
	return l
}

// load stores the archive in r, which may be compressed. read gives its members to the loader.
func load(ctx context.Context, st *store.Store, r io.Reader, o Options, read func(l *loader, plain io.Reader) error) (Result, error) {
	plain, err := decompress.NewReader(&input{ctx: ctx, r: r})
	if err != nil {
		return Result{}, err
	}
	defer plain.Close()
	l := newLoader(ctx, st, o)
	defer l.close()
	if err := read(l, plain); err != nil {
		return Result{LeftOut: l.problems.sorted()}, err
	}
	return l.finish()
}

// close ends the goroutines.
func (l *loader) close() {
	l.stop()
	for _, b := range l.queue {
		<-b.done
	}
	l.tree.close()
}

func (l *loader) add(m member) error {
	l.filling.members = append(l.filling.members, m)
	if len(l.filling.members) < batchMembers {
		return nil
	}
	return l.flush()
}

// file takes the next member, a file of size bytes. r has its contents, and may have more. rerr is an error of r.
func (l *loader) file(m member, size uint64, r io.Reader) (rerr, err error) {
	m.node.Kind, m.node.Size = store.KindFile, size
	if size > batchBytes {
		if m.node.Digest, rerr, err = l.stream(size, r); rerr != nil || err != nil {
			return rerr, err
		}
	} else if err = l.room(int(size)); err != nil {
		return nil, err
	} else {
		b := l.filling
		from := len(b.buf)
		b.buf = b.buf[:from+int(size)]
		m.data = b.buf[from:]
		if _, err := io.ReadFull(r, m.data); err != nil {
			return noEOF(err), nil
		}
	}
	l.o.Progress.Files.Add(1)
	l.o.Progress.Bytes.Add(size)
	return nil, l.add(m)
}

// noEOF returns an error for input that ends too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// room makes sure that the contents of a file fit into the buffer of the batch that is being filled.
func (l *loader) room(size int) error {
	if b := l.filling; b.buf != nil && len(b.buf)+size > cap(b.buf) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if b := l.filling; b.buf == nil {
		if n := len(l.spare); n > 0 {
			b.buf, l.spare = l.spare[n-1][:0], l.spare[:n-1]
		} else {
			b.buf = make([]byte, 0, batchBytes)
		}
	}
	return nil
}

// stream stores a long file while it is read. It makes no sense to read on before that: the store uses all processors.
func (l *loader) stream(size uint64, r io.Reader) (d store.Digest, rerr, err error) {
	w, err := l.st.Blobs.Create(l.ctx)
	if err != nil {
		return d, nil, err
	}
	defer w.Close()
	in := &input{ctx: l.ctx, r: io.LimitReader(r, int64(size))}
	n, err := io.Copy(w, in)
	switch {
	case in.err != nil:
		return d, in.err, nil
	case err != nil:
		return d, nil, err
	case uint64(n) != size:
		return d, io.ErrUnexpectedEOF, nil
	}
	d, err = w.Commit()
	return d, nil, err
}

// flush hands the batch that is being filled to a goroutine.
func (l *loader) flush() error {
	if len(l.filling.members) == 0 {
		return l.ctx.Err()
	}
	for len(l.queue) > cap(l.lanes) {
		if err := l.applyOldest(); err != nil {
			return err
		}
	}
	b := l.filling
	b.done = make(chan struct{})
	l.filling, l.queue = new(batch), append(l.queue, b)
	if b.buf == nil { // no contents
		close(b.done)
		return nil
	}
	blobs := <-l.lanes
	go func() {
		defer close(b.done)
		defer func() { l.lanes <- blobs }()
		for i := range b.members {
			m := &b.members[i]
			if m.data == nil {
				continue
			}
			if m.node.Digest, b.err = blobs.Put(l.ctx, m.data); b.err != nil {
				return
			}
			m.data = nil
		}
	}()
	return nil
}

// applyOldest waits for the oldest batch, and adds its members to the tree.
func (l *loader) applyOldest() error {
	b := l.queue[0]
	l.queue = l.queue[1:]
	<-b.done
	if b.err != nil {
		return b.err
	}
	for i := range b.members {
		m := &b.members[i]
		err := m.err
		if err == nil {
			err = m.apply(l, m)
		}
		if err == nil {
			continue
		}
		if err := l.problem(m.name, err); err != nil {
			return err
		}
	}
	if b.buf != nil {
		l.spare = append(l.spare, b.buf)
	}
	return nil
}

// problem records that a member cannot be stored.
func (l *loader) problem(name string, err error) error {
	if !isRefusal(err) {
		return err
	}
	l.problems.add(Problem{Path: name, Err: err})
	if len(l.problems.all)+len(l.tree.special) > maxProblems {
		return fmt.Errorf("more than %d members cannot be stored, among them %w", maxProblems, l.problems.all[len(l.problems.all)-1])
	}
	return nil
}

// refusal is the reason why a member is refused. Other members can be stored.
type refusal string

func (r refusal) Error() string { return string(r) }

func isRefusal(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok || errors.Is(err, store.ErrTooDeep)
}

// finish stores the tree, after all members, and returns its root.
func (l *loader) finish() (Result, error) {
	if err := l.flush(); err != nil {
		return Result{}, err
	}
	for len(l.queue) > 0 {
		if err := l.applyOldest(); err != nil {
			return Result{}, err
		}
	}
	for _, p := range l.tree.special {
		l.problems.add(p)
	}
	r := Result{LeftOut: l.problems.sorted()}
	if err := l.problems.refused(l.o); err != nil {
		return r, err
	}
	if l.single.Kind != 0 {
		r.Root = l.single
		count(&r.Counts, &r.Root)
		return r, nil
	}
	upload, err := l.st.Directories.Upload(l.ctx)
	if err != nil {
		return r, err
	}
	defer upload.Close()
	to := grown{ctx: l.ctx, upload: upload, rule: l.o.SizeRule}
	top, err := l.tree.finish(&to, &l.tree.root)
	if err != nil {
		return r, err
	}
	r.Root, r.Counts = top, to.counts
	return r, upload.Commit(l.ctx, top.Digest)
}
