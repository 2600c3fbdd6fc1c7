package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"castar/ingest"
	"castar/store"
	"castar/store/tree"
)

// diffSide is one of the two that castar diff compares.
type diffSide struct {
	tree.Side
	arg  string
	path string       // outside the store, or "" for what is in it
	st   *store.Store // where file contents are, if path is ""
}

// diffSides finds out what args mean, and reads what is outside the store. What is left out there it names on stderr.
func (e *env) diffSides(ctx context.Context, f *diffFlags, st *store.Store, args [2]string) (sides [2]*diffSide, leftOut bool, err error) {
	for i, arg := range args {
		if sides[i], err = findSide(ctx, st, arg); err != nil {
			return sides, false, err
		}
	}
	// A live tree is hashed by the rule that the stored one follows, or not one directory would be the same.
	o := f.live.options
	for _, s := range sides {
		if s.path != "" {
			o.Excludes = e.excludeCache("diff", o.Excludes, s.path)
		} else if o.SizeRule, _, err = tree.SizeRule(ctx, st.Directories, s.Root); err != nil {
			return sides, false, fmt.Errorf("%s: %w", quote(s.arg), err)
		}
	}
	for _, s := range sides {
		if s.path == "" {
			continue
		}
		problems, err := e.hash(ctx, st, s, o, !f.live.noCache)
		if err != nil {
			return sides, false, err
		}
		for _, p := range problems {
			leftOut = true
			e.warn("diff", "left out: "+p.Error())
		}
	}
	return sides, leftOut, e.filterSides(ctx, sides, o, f.stat)
}

// findSide finds out what arg means.
func findSide(ctx context.Context, st *store.Store, arg string) (*diffSide, error) {
	if !isPath(arg) {
		r, err := resolveRef(ctx, st, arg)
		if err == nil {
			return &diffSide{Side: tree.Side{Directories: st.Directories, Root: r.Node}, arg: arg, st: st}, nil
		}
		if couldBeRoot(arg) && !store.IsNotFound(err) && !errors.Is(err, store.ErrUnsupported) {
			return nil, err
		}
		if _, lerr := os.Lstat(arg); lerr != nil {
			return nil, err
		}
	}
	if err := checkSource(arg); err != nil {
		return nil, err
	}
	return &diffSide{arg: arg, path: arg}, nil
}

// isPath reports whether arg can be nothing but a path outside the store.
func isPath(arg string) bool {
	first, _, _ := strings.Cut(arg, "/")
	return first == "" || first == "." || first == ".."
}

// couldBeRoot reports whether arg is spelled as a root is.
func couldBeRoot(arg string) bool {
	name, _, _ := strings.Cut(arg, ":")
	_, _, err := store.CutDigest(arg)
	return err == nil || store.IsDigestPrefix(name) || store.ValidateTag(name) == nil
}

// hash reads the side, which is outside the store, and returns what it left out.
func (e *env) hash(ctx context.Context, st *store.Store, s *diffSide, o ingest.Options, useCache bool) ([]ingest.Problem, error) {
	source, err := filepath.Abs(s.path)
	if err != nil {
		return nil, err
	}
	if o.Excludes, err = e.excludeStore("diff", o.Excludes, s.path); err != nil {
		return nil, err
	}
	if o.Landmarks, err = e.landmarks(s.path); err != nil {
		return nil, err
	}
	if useCache {
		if o.Cache, err = openCache(st, source); err != nil {
			e.warn("diff", "cache: "+err.Error()) // slower, and no less right
		}
		defer func() { e.saveCache("diff", o.Cache) }()
	}
	progress := new(ingest.Progress)
	o.Progress = progress
	defer e.startProgress("diff", func() sample {
		return sample{files: progress.Files.Load() + progress.Symlinks.Load(), bytes: progress.Bytes.Load()}
	})()
	r, ds, err := ingest.Hash(ctx, s.path, o)
	if left := (*ingest.LeftOutError)(nil); errors.As(err, &left) {
		return nil, refusal(left.Problems, []string{s.path})
	}
	if err != nil {
		return nil, err
	}
	e.noteStores("diff", s.path, r.Stores)
	s.Directories, s.Root = ds, r.Root
	return r.LeftOut, nil
}

// lookup returns the node at path inside the side.
func (s *diffSide) lookup(ctx context.Context, path string) (store.Node, error) {
	root := s.Root
	root.Name = ""
	return tree.Lookup(ctx, s.Directories, root, path)
}

// contents returns what the file n at path holds. Outside the store it may have changed meanwhile, which is an error.
func (s *diffSide) contents(ctx context.Context, path string, n store.Node) ([]byte, error) {
	if s.path == "" {
		b, err := openBlob(ctx, s.st, n)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		return io.ReadAll(b)
	}
	data, err := s.readFile(path, n.Size)
	if err == nil && store.Sum(data) != n.Digest {
		err = fmt.Errorf("%s: %w", s.arg, ingest.ErrChanged)
	}
	return data, err
}

// readFile reads a file outside the store that had size bytes.
func (s *diffSide) readFile(path string, size uint64) ([]byte, error) {
	const flags = os.O_RDONLY | unix.O_NONBLOCK // a pipe in its place must not make us wait
	var f *os.File
	var err error
	if path == "" {
		f, err = os.OpenFile(s.path, flags, 0)
	} else {
		var root *os.Root
		if root, err = os.OpenRoot(s.path); err != nil {
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
