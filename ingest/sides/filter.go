package sides

import (
	"context"
	"fmt"
	"io"
	"strings"

	"castar/ingest"
	"castar/ingest/ignore"
	"castar/store"
	"castar/store/tree"
)

// Filter leaves out of the stored sides what an ingest with the options o would have left out. Live sides were read with
// these options already. whole says that the caller looks at all of both trees, and not only at what differs.
func Filter(ctx context.Context, sides [2]*Side, o ingest.Options, whole bool) error {
	if len(o.Excludes) == 0 && !o.GitIgnore && !o.ExcludeCaches {
		return nil
	}
	// What .gitignore files exclude in a directory depends on the files above it, so it may differ though the directory is
	// the same.
	filter := tree.FilterOptions{Whole: whole || o.GitIgnore}
	for i, s := range sides {
		if s.Path == "" {
			filter.Filters[i] = &storedFilter{s.st, o, ignore.Root(o.Excludes...)}
		}
	}
	filtered, err := tree.FilterSides(ctx, [2]tree.Side{sides[0].Side, sides[1].Side}, filter)
	for i, s := range sides {
		s.Side = filtered[i]
	}
	return err
}

// storedFilter is a tree.Filter that does to a stored directory what package ingest does to one in a file system.
type storedFilter struct {
	st      *store.Store
	o       ingest.Options
	ignored ignore.Stack
}

// filterKey is what decides what a storedFilter leaves out of a directory, wherever that is.
type filterKey struct {
	patterns   string
	repository bool // its name is that of a repository
}

// Key implements tree.Filter.
func (f *storedFilter) Key(path tree.Path) any {
	return filterKey{f.ignored.Key(path.String), path.Name() == ignore.RepositoryName}
}

// Enter implements tree.Filter.
func (f *storedFilter) Enter(ctx context.Context, path tree.Path, dir store.Directory) (store.Directory, tree.Filter, error) {
	at := storedPeeker{ctx, f.st, dir}
	below := *f
	var isCache bool
	var err error
	if f.o.ExcludeCaches {
		isCache, err = ignore.IsCache(at)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", inside(path.String(), ignore.CacheDirTag), err)
	case isCache:
		tag, _ := dir.Find(ignore.CacheDirTag)
		dir = store.Directory{tag}
	case f.o.GitIgnore:
		if below.ignored, err = f.ignored.Enter(path.Name(), path.String, at); err != nil {
			err = fmt.Errorf("%s: %w", inside(path.String(), ignore.FileName), err)
		}
	}
	match := below.ignored.MatchName
	if below.ignored.State(path.String) != "" {
		parent := path.String()
		match = func(name string, isDir bool) bool { return below.ignored.Match(inside(parent, name), isDir) }
	}
	var kept store.Directory
	for _, n := range dir {
		if !match(n.Name, n.Kind == store.KindDirectory) {
			kept = append(kept, n)
		}
	}
	return kept, &below, err
}

// inside returns the path of name in the directory at path.
func inside(path, name string) string { return strings.TrimPrefix(path+"/"+name, "/") }

// storedPeeker is a stored directory as an ignore.Peeker.
type storedPeeker struct {
	ctx context.Context
	st  *store.Store
	dir store.Directory
}

func (p storedPeeker) find(path string) (store.Node, error) {
	name, rest, deeper := strings.Cut(path, "/")
	n, ok := p.dir.Find(name)
	switch {
	case !ok:
		return n, ignore.ErrNoFile
	case deeper:
		return tree.Lookup(p.ctx, p.st.Directories, n, rest)
	}
	return n, nil
}

// Exists implements ignore.Peeker.
func (p storedPeeker) Exists(path string) bool {
	_, err := p.find(path)
	return err == nil
}

// Head implements ignore.Peeker.
func (p storedPeeker) Head(path string, limit int) ([]byte, error) {
	n, err := p.find(path)
	if err != nil {
		return nil, err
	}
	if n.Kind != store.KindFile {
		return nil, ignore.ErrNoFile
	}
	b, err := tree.OpenFile(p.ctx, p.st, n)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(io.LimitReader(b, int64(limit)))
}
