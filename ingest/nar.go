package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"castar/ingest/decompress"
	"castar/store"
)

// NAR stores what is in a NAR, the archive format of Nix, and returns its root: a directory, a file or a symlink. The
// archive may be compressed as package decompress has it. Of o, it uses Jobs, SizeRule and Progress, of which TotalBytes
// is left alone.
//
// NAR takes only what Nix writes: every tree has one NAR, with its names in order. Anything else is an error, as is
// anything after the archive, and there is no root.
func NAR(ctx context.Context, st *store.Store, r io.Reader, o Options) (Result, error) {
	plain, err := decompress.NewReader(&interruptible{ctx, r})
	if err != nil {
		return Result{}, err
	}
	defer plain.Close()
	l := newLoader(ctx, st, o)
	defer l.close()
	n := &narReader{loader: l, r: plain}
	if err := n.archive(); err != nil {
		return Result{}, err
	}
	return l.finish()
}

// narReader reads one archive. A NAR is strings in a fixed order: most are words, such as "type", and some are data.
type narReader struct {
	*loader
	r    io.Reader
	path []string // of the node that is being read
	buf  [8]byte
	word [8]byte
}

// narMagic is the first string of each archive.
const narMagic = "nix-archive-1"

// archive reads everything.
func (n *narReader) archive() error {
	if magic, err := n.string(len(narMagic)); err != nil || magic != narMagic {
		if err == nil || errors.Is(err, errTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("not a NAR, or damaged at its beginning")
		}
		return err
	}
	if err := n.node(""); err != nil {
		switch {
		case n.ctx.Err() != nil:
			return n.ctx.Err()
		case errors.Is(err, io.ErrUnexpectedEOF):
			err = errors.New("the archive is cut short")
		}
		if len(n.path) > 0 {
			return fmt.Errorf("%s: %w", store.Quote(store.ShortPath(strings.Join(n.path, "/"))), err)
		}
		return err
	}
	if m, err := io.ReadFull(n.r, n.buf[:1]); m > 0 {
		return errors.New("something follows the end of the archive")
	} else if err != io.EOF {
		return err
	}
	return nil
}

// node reads a node, which is the entry name of the current directory, or the root. With an error, n.path is where it is.
func (n *narReader) node(name string) error {
	if err := n.expect("(", "type"); err != nil {
		return err
	}
	kind, err := n.string(len("directory"))
	if err != nil {
		return err
	}
	switch kind {
	case "regular":
		err = n.regular(name)
	case "symlink":
		err = n.symlink(name)
	case "directory":
		return n.directory(name)
	default:
		err = fmt.Errorf("is of the type %q, which is not known", kind)
	}
	if err != nil {
		return err
	}
	return n.expect(")")
}

func (n *narReader) regular(name string) error {
	m := member{apply: n.apply(), path: name}
	word, err := n.string(len("executable"))
	if err == nil && word == "executable" {
		m.node.Executable = true
		if err = n.expect(""); err == nil {
			word, err = n.string(len("contents"))
		}
	}
	if err == nil && word != "contents" {
		err = unexpected(word, "contents")
	}
	if err != nil {
		return err
	}
	size, err := n.length()
	if err != nil {
		return err
	}
	if size > maxFile {
		return fmt.Errorf("%d bytes are more than a file can have", size)
	}
	rerr, err := n.file(m, size, n.r)
	if err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	return n.padding(size)
}

func (n *narReader) symlink(name string) error {
	if err := n.expect("target"); err != nil {
		return err
	}
	target, err := n.string(store.MaxTargetLen)
	if err == nil {
		err = store.ValidateTarget(target)
	}
	if err != nil {
		return err
	}
	n.o.Progress.Symlinks.Add(1)
	return n.add(member{apply: n.apply(), path: name, node: store.Node{Kind: store.KindSymlink, Target: target}})
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

// directory reads the entries of a directory.
func (n *narReader) directory(name string) error {
	if len(n.path) >= store.MaxDepth {
		return store.ErrTooDeep
	}
	if len(n.path) > 0 {
		if err := n.add(member{apply: applyEnter, path: name}); err != nil {
			return err
		}
	}
	for last := ""; ; {
		word, err := n.string(len("entry"))
		if err == nil && word != "entry" && word != ")" {
			err = unexpected(word, "entry")
		}
		if err != nil {
			return err
		}
		if word == ")" {
			break
		}
		if last, err = n.entry(last); err != nil {
			return err
		}
	}
	if len(n.path) > 0 {
		return n.add(member{apply: applyLeave})
	}
	return nil
}

// entry reads an entry of a directory, which comes after the entry last, and returns its name.
func (n *narReader) entry(last string) (name string, err error) {
	if err = n.expect("(", "name"); err == nil {
		name, err = n.string(store.MaxNameLen)
	}
	if err == nil {
		err = store.ValidateName(name)
	}
	switch {
	case err != nil:
		return "", err
	case name == last:
		return "", fmt.Errorf("duplicate name %s", store.Quote(name))
	case name < last:
		return "", fmt.Errorf("wrong order: %s comes after %s", store.Quote(name), store.Quote(last))
	}
	n.path = append(n.path, name)
	if err = n.expect("node"); err == nil {
		err = n.node(name)
	}
	if err == nil {
		err = n.expect(")")
	}
	if err == nil {
		n.path = n.path[:len(n.path)-1]
	}
	return name, err
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

// expect reads words, which must come now.
func (n *narReader) expect(words ...string) error {
	for _, want := range words {
		got, err := n.string(len("directory"))
		if err != nil {
			return err
		}
		if got != want {
			return unexpected(got, want)
		}
	}
	return nil
}

func unexpected(got, want string) error { return fmt.Errorf("%q where %q should be", got, want) }

// errTooLong is the error of a string that is longer than any that may come now.
var errTooLong = errors.New("a string is too long")

// length reads the length of a string.
func (n *narReader) length() (uint64, error) {
	_, err := io.ReadFull(n.r, n.buf[:])
	return binary.LittleEndian.Uint64(n.buf[:]), noEOF(err)
}

// string reads a string of at most limit bytes.
func (n *narReader) string(limit int) (string, error) {
	size, err := n.length()
	if err != nil {
		return "", err
	}
	if size > uint64(limit) || size > math.MaxInt32 {
		return "", fmt.Errorf("%w: %d bytes", errTooLong, size)
	}
	b := n.word[:0]
	if size > uint64(len(n.word)) {
		b = make([]byte, 0, size)
	}
	b = b[:size]
	if _, err := io.ReadFull(n.r, b); err != nil {
		return "", noEOF(err)
	}
	return string(b), n.padding(size)
}

// padding reads the zeros after a string, up to a multiple of eight bytes.
func (n *narReader) padding(size uint64) error {
	pad := n.buf[:-size&7]
	if _, err := io.ReadFull(n.r, pad); err != nil {
		return noEOF(err)
	}
	if len(bytes.Trim(pad, "\x00")) > 0 {
		return errors.New("padding is not zero")
	}
	return nil
}
