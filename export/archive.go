package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"castar/store"
	stored "castar/store/tree"
)

// Format is a kind of archive.
type Format string

// The formats that Archive writes.
const (
	FormatTar Format = "tar" // ustar, with PAX records where names or sizes need them
	FormatNAR Format = "nar" // the archive format of Nix
	FormatZip Format = "zip" // deflated, zip64 where needed
)

// ArchiveOptions says how Archive writes.
type ArchiveOptions struct {
	Format Format
	// Name is the path of the root in a tar or zip archive. If it is "", the entries of a directory are at the top of the
	// archive; another root needs a name. A NAR has no name.
	Name string
	// Of Options, these count: Jobs, Progress, Partial and Complain, as for Dir; MTime, in whole seconds, where zero stands
	// for the times of Listing, or for 1970; and Listing, from which a tar archive gets modes, owners, times and hard links,
	// and with Xattrs extended attributes, and a zip archive modes, owners (as numbers) and times. A NAR has none of these.
	Options
}

// ErrNeedsName is the error for a root that is not a directory, and has no name for a tar or zip archive.
var ErrNeedsName = errors.New("a file or symbolic link needs a name in the archive")

// Archive writes the tree, file or symlink root to w as an archive, and ignores the name of root. The same root and options
// give the same bytes: entries are in the order of their names, and without a listing, owners are 0, and modes 0644, 0755
// and 0777.
//
// Archive checks all sizes and digests. It ends the archive only when everything was right; after an error, w has an
// archive that is visibly cut short. The error is an *Error if it is about one entry of the tree. Memory does not depend
// on the tree, but for a zip archive, which ends with a list of its entries, where each takes about 70 bytes and its path;
// and for the files of several names that a listing has, where each takes about as much.
func Archive(ctx context.Context, st *store.Store, root store.Node, w io.Writer, o ArchiveOptions) (Result, error) {
	root.Name = ""
	e, err := newExporter(ctx, st, &root, o.Options)
	if err != nil {
		return Result{}, err
	}
	defer e.stop(nil)
	a := &archiver{exporter: e, out: &offsetWriter{w: w}, named: o.Format != FormatNAR}
	if a.timed = !o.MTime.IsZero(); a.timed {
		a.seconds = o.MTime.Unix()
	}
	if a.enc, err = newEncoder(o.Format); err != nil {
		return Result{}, err
	}
	if o.Format == FormatTar {
		a.first = map[linkKey]string{}
	}
	if a.named {
		a.name, err = o.Name, checkArchiveName(&root, o.Name)
	}
	if err != nil {
		return Result{}, err
	}
	stored.Expect(e.ctx, st, []stored.Root{{Node: root}}, nil)
	err = a.archive(&root)
	return e.done.result(), err
}

func newEncoder(f Format) (encoder, error) {
	switch f {
	case FormatTar:
		return &tarEncoder{}, nil
	case FormatNAR:
		return &narEncoder{}, nil
	case FormatZip:
		return newZipEncoder(), nil
	}
	return nil, fmt.Errorf("unknown archive format %q", f)
}

func checkArchiveName(root *store.Node, name string) error {
	switch {
	case name != "":
		return ValidateArchiveName(name)
	case root.Kind != store.KindDirectory:
		return ErrNeedsName
	}
	return nil
}

// ValidateArchiveName reports why name cannot be ArchiveOptions.Name, or nil. It is a path that does not lead out of the
// archive.
func ValidateArchiveName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if err := store.ValidateName(part); err != nil {
			return err
		}
	}
	return nil
}

// archiveEvent is a step of an archive.
type archiveEvent struct {
	kind eventKind
	at   *trail     // the directory that the node is in; nil for the root
	dir  string     // where the node is in the archive: "" or a path that ends in a slash
	node store.Node // named as in the archive
	root bool       // the node is the root
	attrs
}

// eventKind says what comes at this point of an archive.
type eventKind uint8

const (
	eventEnter eventKind = iota // a directory begins
	eventLeave                  // a directory ends
	eventFile
	eventSymlink
	eventHardLink // to the entry whose path is the node's target
)

// path returns the path of the event in the archive.
func (ev *archiveEvent) path() string { return ev.dir + ev.node.Name }

// encoder is how a format writes. Those methods that get a parcel are called concurrently, for different parcels.
type encoder interface {
	// plain appends an event that is not a file.
	plain(p *parcel, ev *archiveEvent) error
	// before and after append what comes before and after the contents of a file, which begin at p.buf[from].
	before(p *parcel, ev *archiveEvent) error
	after(p *parcel, ev *archiveEvent, from int) error
	// end returns what an archive ends with. at is its offset.
	end(at uint64) []byte
}

// indexer is an encoder that lists the entries of an archive at its end.
type indexer interface {
	// wrote is called after a parcel was written at an offset.
	wrote(p *parcel, at uint64)
	// long writes a file whose contents are not in memory. The function contents writes them.
	long(out *offsetWriter, ev *archiveEvent, contents func(io.Writer) error) error
}

// offsetWriter counts what is written.
type offsetWriter struct {
	w io.Writer
	n uint64
}

func (o *offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += uint64(n)
	return n, err
}

// parcel is a part of an archive, which one goroutine makes. It is a few events, or one long file.
type parcel struct {
	events  []archiveEvent
	bytes   uint64      // of contents
	long    bool        // the one event is a file that does not go through buf
	buf     []byte      // the archive's bytes
	entries []*zipEntry // of a zip archive, which lists them at its end
	done    chan struct{}
	err     error
}

const (
	parcelBytes  = 512 << 10 // of contents, from which a parcel is full
	parcelEvents = 256
	// longFile is the largest size of a file that is read into memory, so that several can be read at once. Of a longer
	// one, the store reads several chunks at once.
	longFile = 1 << 20
)

// archiver is one call of Archive. One goroutine walks the tree and makes parcels, several fill them, and the caller's
// writes them in order. So the next files are read while one is written.
type archiver struct {
	*exporter
	enc     encoder
	out     *offsetWriter
	name    string
	named   bool               // each entry has its whole path
	timed   bool               // all entries get the time seconds
	seconds int64              // since 1970; also of entries that no listing has
	first   map[linkKey]string // paths of files of several names; nil if links are written as copies
	filling *parcel
	ordered chan *parcel
	work    chan *parcel
	spare   sync.Pool     // of *[]byte
	ahead   chan struct{} // one for each directory that is read ahead
	working sync.WaitGroup
}

func (a *archiver) archive(root *store.Node) error {
	a.ordered, a.work = make(chan *parcel, a.o.Jobs), make(chan *parcel, a.o.Jobs)
	a.ahead = make(chan struct{}, a.o.Jobs)
	a.filling = new(parcel)
	a.working.Go(func() {
		defer close(a.ordered)
		defer close(a.work)
		err := a.root(root)
		if err == nil {
			err = a.send()
		}
		if err != nil {
			a.stop(err)
		}
	})
	for range a.o.Jobs {
		a.working.Go(func() {
			for p := range a.work {
				p.err = a.fill(p)
				close(p.done)
			}
		})
	}
	err := a.writeAll()
	if err != nil {
		a.stop(err)
	}
	a.working.Wait()
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	_, err = a.out.Write(a.enc.end(a.out.n))
	return err
}

func (a *archiver) writeAll() error {
	for p := range a.ordered {
		select {
		case <-p.done:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
		if p.err == nil {
			p.err = a.write(p)
		}
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func (a *archiver) write(p *parcel) error {
	at := a.out.n
	if p.long {
		ev := &p.events[0]
		if err := a.writeLong(ev); err != nil {
			return ev.at.wrap(ev.node.Name, err)
		}
	} else if _, err := a.out.Write(p.buf); err != nil {
		return err
	}
	if x, ok := a.enc.(indexer); ok {
		x.wrote(p, at)
	}
	for i := range p.events {
		if ev := &p.events[i]; ev.kind != eventLeave {
			a.done.met(ev.node.Kind, true)
		}
	}
	a.done.Bytes.Add(p.bytes)
	if p.buf != nil {
		a.spare.Put(&p.buf)
	}
	return a.ctx.Err()
}

// writeLong writes a file whose contents are not in memory.
func (a *archiver) writeLong(ev *archiveEvent) error {
	contents := func(w io.Writer) error { return a.contents(w, &ev.node) }
	if x, ok := a.enc.(indexer); ok {
		return x.long(a.out, ev, contents)
	}
	var before, after parcel
	if err := a.enc.before(&before, ev); err != nil {
		return err
	}
	if _, err := a.out.Write(before.buf); err != nil {
		return err
	}
	if err := contents(a.out); err != nil {
		return err
	}
	if err := a.enc.after(&after, ev, 0); err != nil {
		return err
	}
	_, err := a.out.Write(after.buf)
	return err
}

// fill makes the bytes of a parcel.
func (a *archiver) fill(p *parcel) error {
	if p.long {
		return nil
	}
	if b, ok := a.spare.Get().(*[]byte); ok {
		p.buf = (*b)[:0]
	} else {
		p.buf = make([]byte, 0, parcelBytes+longFile)
	}
	for i := range p.events {
		ev := &p.events[i]
		err := a.ctx.Err()
		if err == nil && ev.kind == eventFile {
			err = a.fillFile(p, ev)
		} else if err == nil {
			err = a.enc.plain(p, ev)
		}
		if err != nil {
			return ev.at.wrap(ev.node.Name, err)
		}
	}
	return nil
}

func (a *archiver) fillFile(p *parcel, ev *archiveEvent) error {
	if err := a.enc.before(p, ev); err != nil {
		return err
	}
	from := len(p.buf)
	if err := a.contents((*appender)(&p.buf), &ev.node); err != nil {
		return err
	}
	return a.enc.after(p, ev, from)
}

// appender appends what is written to a slice.
type appender []byte

func (b *appender) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// contents writes the contents of a file, which are checked when it returns.
func (a *archiver) contents(w io.Writer, n *store.Node) error {
	if n.Size == 0 && n.Digest == a.empty {
		return nil // it need not come from the store
	}
	blob, err := a.open(n)
	if err != nil {
		return err
	}
	defer blob.Close()
	out := &sizedWriter{ctx: a.ctx, node: n, to: w}
	return out.fill(out, blob)
}
