// Package sides makes the two sides of a diff. A side is a stored tree, or one in a file system that is read as an
// ingest would read it. Patterns leave out of a stored tree what they would have left out of an ingest.
package sides

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"castar/ingest"
	"castar/store"
	"castar/store/tree"
)

// Side is one of the two trees that are compared.
type Side struct {
	tree.Side
	Arg  string       // what Find was given
	Path string       // outside the store, or "" for a stored tree
	Ref  tree.Ref     // what Arg means, if Path is ""
	st   *store.Store // has the contents of files, if Path is ""
}

// Find returns the side that arg means: something in st, or a path outside it. A path must be read by Hash next. If arg
// is neither, the error is that of tree.Resolve.
func Find(ctx context.Context, st *store.Store, arg string) (*Side, error) {
	if IsPath(arg) {
		return &Side{Arg: arg, Path: arg}, nil
	}
	r, err := tree.Resolve(ctx, st, arg)
	if err == nil {
		return &Side{Side: tree.Side{Directories: st.Directories, Root: r.Node}, Arg: arg, Ref: r, st: st}, nil
	}
	if couldBeRoot(arg) && !store.IsNotFound(err) && !errors.Is(err, store.ErrUnsupported) {
		return nil, err
	}
	if _, lerr := os.Lstat(arg); lerr != nil {
		return nil, err
	}
	return &Side{Arg: arg, Path: arg}, nil
}

// IsPath reports whether arg can only be a path outside the store.
func IsPath(arg string) bool {
	first, _, _ := strings.Cut(arg, "/")
	return first == "" || first == "." || first == ".."
}

// couldBeRoot reports whether arg is spelled as a root is.
func couldBeRoot(arg string) bool {
	name, _, _ := strings.Cut(arg, ":")
	_, _, err := store.CutDigest(arg)
	return err == nil || store.IsDigestPrefix(name) || store.ValidateTag(name) == nil
}

// Hash reads a side outside the store. The result has what was left out.
func (s *Side) Hash(ctx context.Context, o ingest.Options) (ingest.Result, error) {
	r, directories, err := ingest.Hash(ctx, s.Path, o)
	if err == nil {
		s.Directories, s.Root = directories, r.Root
	}
	return r, err
}

// SizeRule returns the rule by which a live side must count sizes, so that a directory on both sides has one digest: that
// of the stored side, or fallback if there is none.
func SizeRule(ctx context.Context, sides [2]*Side, fallback store.SizeRule) (rule store.SizeRule, err error) {
	rule = fallback
	for _, s := range sides {
		if s.Path != "" {
			continue
		}
		if rule, _, err = tree.SizeRule(ctx, s.Directories, s.Root); err != nil {
			return rule, fmt.Errorf("%s: %w", store.Quote(s.Arg), err)
		}
	}
	return rule, nil
}

// Lookup returns the node at path inside the side.
func (s *Side) Lookup(ctx context.Context, path string) (store.Node, error) {
	root := s.Root
	root.Name = "" // a root has none
	return tree.Lookup(ctx, s.Directories, root, path)
}

// Contents returns the contents of the file n at path. If a file outside the store has changed since Hash, the error is
// ingest.ErrChanged.
func (s *Side) Contents(ctx context.Context, path string, n store.Node) ([]byte, error) {
	if s.Path == "" {
		b, err := tree.OpenFile(ctx, s.st, n)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		return io.ReadAll(b)
	}
	data, err := s.readFile(path, n.Size)
	if err == nil && store.Sum(data) != n.Digest {
		err = fmt.Errorf("%s: %w", s.Arg, ingest.ErrChanged)
	}
	return data, err
}

// readFile reads a file outside the store that had size bytes.
func (s *Side) readFile(path string, size uint64) ([]byte, error) {
	const flags = os.O_RDONLY | unix.O_NONBLOCK // do not wait for a pipe that took its place
	var f *os.File
	var err error
	if path == "" {
		f, err = os.OpenFile(s.Path, flags, 0)
	} else {
		var root *os.Root
		if root, err = os.OpenRoot(s.Path); err != nil {
			return nil, err
		}
		defer root.Close()
		f, err = root.OpenFile(path, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(size)+1))
}
