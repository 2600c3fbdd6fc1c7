package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"castar/store"
)

// NAR stores what is in a NAR, the archive format of Nix, and returns its root: a directory, a file or a symlink. The
// archive may be compressed as package decompress has it. It uses these fields of o: Jobs, SizeRule and Progress. It
// does not set Progress.TotalBytes.
//
// NAR takes only what Nix writes: every tree has one NAR, with its names in order. Anything else is an error, as is
// anything after the archive, and there is no root.
func NAR(ctx context.Context, st *store.Store, r io.Reader, o Options) (Result, error) {
	return load(ctx, st, r, o, func(l *loader, plain io.Reader) error {
		return (&narReader{loader: l, r: plain}).archive()
	})
}

// narReader reads one archive. A NAR is strings in a fixed order: most are words, such as "type", and some are data. After
// the first error, which it keeps, it reads nothing more, and all strings are empty.
type narReader struct {
	*loader
	r    io.Reader
	err  error
	path []string // of the node that is being read
	buf  [8]byte
	word [8]byte
}

// narMagic is the first string of each archive.
const narMagic = "nix-archive-1"

// archive reads everything.
func (n *narReader) archive() error {
	if magic := n.string(len(narMagic)); magic != narMagic {
		if n.err == nil || errors.Is(n.err, errTooLong) || errors.Is(n.err, io.ErrUnexpectedEOF) {
			n.err = errors.New("not a NAR, or damaged at its beginning")
		}
		return n.err
	}
	n.node("")
	switch {
	case n.ctx.Err() != nil:
		return n.ctx.Err()
	case errors.Is(n.err, io.ErrUnexpectedEOF):
		n.err = errors.New("the archive is cut short")
	}
	if n.err != nil && len(n.path) > 0 {
		return fmt.Errorf("%s: %w", store.Quote(store.ShortPath(strings.Join(n.path, "/"))), n.err)
	}
	if n.err != nil {
		return n.err
	}
	if m, err := io.ReadFull(n.r, n.buf[:1]); m > 0 {
		return errors.New("data after the end of the archive")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// fail keeps an error, unless there is one already.
func (n *narReader) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

// node reads a node, which is the entry name of the current directory, or the root. After an error, n.path is where it is.
func (n *narReader) node(name string) {
	n.expect("(", "type")
	switch kind := n.string(len("directory")); kind {
	case "regular":
		n.regular(name)
	case "symlink":
		n.symlink(name)
	case "directory":
		n.directory(name)
		return
	default:
		n.fail(fmt.Errorf("is of the type %q, which is not known", kind))
	}
	n.expect(")")
}

func (n *narReader) regular(name string) {
	m := member{apply: n.apply(), path: name}
	word := n.string(len("executable"))
	if m.node.Executable = word == "executable"; m.node.Executable {
		n.expect("")
		word = n.string(len("contents"))
	}
	n.isWord(word, "contents")
	size := n.length()
	if size > maxFile {
		n.fail(fmt.Errorf("%d bytes: more than a file can have", size))
	}
	if n.err == nil {
		rerr, err := n.file(m, size, n.r)
		n.err = cmp.Or(err, rerr)
	}
	n.padding(size)
}

func (n *narReader) symlink(name string) {
	n.expect("target")
	target := n.string(store.MaxTargetLen)
	n.fail(store.ValidateTarget(target))
	n.add(member{apply: n.apply(), path: name, node: store.Node{Kind: store.KindSymlink, Target: target}})
	n.o.Progress.Symlinks.Add(1)
}

// add takes a member that is no file.
func (n *narReader) add(m member) {
	if n.err == nil {
		n.err = n.loader.add(m)
	}
}

// apply returns how a file or symlink is added.
func (n *narReader) apply() func(*loader, *member) error {
	if len(n.path) > 0 {
		return applyHere
	}
	return func(l *loader, m *member) error {
		l.single = m.node
		return nil
	}
}

func (n *narReader) directory(name string) {
	if len(n.path) >= store.MaxDepth {
		n.fail(store.ErrTooDeep)
		return
	}
	if len(n.path) > 0 {
		n.add(member{apply: applyEnter, path: name})
	}
	for last := ""; n.err == nil; {
		word := n.string(len("entry"))
		if word == ")" {
			break
		}
		n.isWord(word, "entry")
		last = n.entry(last)
	}
	if len(n.path) > 0 {
		n.add(member{apply: applyLeave})
	}
}

// entry reads an entry of a directory, which comes after the entry last, and returns its name.
func (n *narReader) entry(last string) string {
	n.expect("(", "name")
	name := n.string(store.MaxNameLen)
	n.fail(store.ValidateName(name))
	switch {
	case name == last:
		n.fail(fmt.Errorf("duplicate name %s", store.Quote(name)))
	case name < last:
		n.fail(fmt.Errorf("wrong order: %s comes after %s", store.Quote(name), store.Quote(last)))
	}
	if n.err != nil {
		return ""
	}
	n.path = append(n.path, name)
	n.expect("node")
	n.node(name)
	n.expect(")")
	if n.err == nil {
		n.path = n.path[:len(n.path)-1]
	}
	return name
}

// applyHere adds an entry to the current directory.
func applyHere(l *loader, m *member) error { return l.tree.set(l.at, m.path, m.node) }

// applyEnter makes a directory in the current one, and makes it the current one.
func applyEnter(l *loader, m *member) (err error) {
	l.at, err = l.tree.enter(l.at, m.path)
	return err
}

// applyLeave makes the parent the current directory.
func applyLeave(l *loader, _ *member) error {
	l.at = l.at.up
	return nil
}

func (n *narReader) expect(words ...string) {
	for _, want := range words {
		n.isWord(n.string(len("directory")), want)
	}
}

// isWord fails unless a word is the one that must come.
func (n *narReader) isWord(got, want string) {
	if got != want {
		n.fail(fmt.Errorf("%q where %q should be", got, want))
	}
}

// errTooLong is the error of a string that is longer than any that may come now.
var errTooLong = errors.New("a string is too long")

func (n *narReader) read(b []byte) {
	if n.err == nil {
		_, err := io.ReadFull(n.r, b)
		n.err = noEOF(err)
	}
}

func (n *narReader) length() uint64 {
	if n.read(n.buf[:]); n.err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(n.buf[:])
}

func (n *narReader) string(limit int) string {
	size := n.length()
	if size > uint64(limit) || size > math.MaxInt32 {
		n.fail(fmt.Errorf("%w: %d bytes", errTooLong, size))
		return ""
	}
	b := n.word[:0]
	if size > uint64(len(n.word)) {
		b = make([]byte, 0, size)
	}
	b = b[:size]
	n.read(b)
	n.padding(size)
	if n.err != nil {
		return ""
	}
	return string(b)
}

// padding reads the zeros after a string, up to a multiple of eight bytes.
func (n *narReader) padding(size uint64) {
	pad := n.buf[:-size&7]
	if n.read(pad); len(bytes.Trim(pad, "\x00")) > 0 {
		n.fail(errors.New("padding is not zero"))
	}
}
