package tree

import (
	"context"
	"path"
	"slices"

	"castar/store"
)

// Choice says what becomes of an entry that Pick is asked about.
type Choice int

const (
	LeaveOut Choice = iota // it, and all that is below it
	LookIn                 // a directory stays if something below it does; anything else is left out
	Take                   // it stays, and a directory also if nothing below it does
)

// Pick returns root without what choose leaves out, and directories in which to find it, which also have everything that
// stays as it is. choose is called for each entry of a directory that it does not leave out; taken says that a directory
// above is taken. What it says of the entries below two directories may depend on the paths of these only so far as state
// gives another text for each; so a tree that shares directories takes the time of its directories, and not of its paths.
// ds is not changed: directories that become others are kept in memory, encoded.
func Pick(ctx context.Context, ds store.Directories, root store.Node,
	choose func(path string, n *store.Node, taken bool) Choice, state func(dir string) string) (store.Directories, store.Node, error) {
	if root.Kind != store.KindDirectory {
		return ds, root, nil
	}
	p := picking{ctx: ctx, kept: newOverlay(ds), choose: choose, state: state}
	var err error
	if p.kept.rule, _, err = SizeRule(ctx, ds, root); err != nil {
		return ds, root, err
	}
	root, _, err = p.directory("", root, false, 1)
	return p.kept, root, err
}

// picking is one call of Pick.
type picking struct {
	ctx    context.Context
	kept   *overlay
	choose func(path string, n *store.Node, taken bool) Choice
	state  func(dir string) string
	known  memo[pickKey, picked]
}

// pickKey is what decides what becomes of a directory.
type pickKey struct {
	digest store.Digest
	taken  bool
	state  string
}

// picked is what became of a directory.
type picked struct {
	digest store.Digest
	size   uint64
	some   bool // is left in it
}

// directory returns what becomes of the directory n, and whether anything is left in it.
func (p *picking) directory(at string, n store.Node, taken bool, depth int) (store.Node, bool, error) {
	if depth > store.MaxDepth {
		return n, false, store.ErrTooDeep
	}
	key := pickKey{n.Digest, taken, p.state(at)}
	become, ok := p.known.get(key)
	if !ok {
		var err error
		if become, err = p.pick(at, n, taken, depth); err != nil {
			return n, false, err
		}
		p.known.put(key, become)
	}
	n.Digest, n.Size = become.digest, become.size
	return n, become.some, nil
}

// pick is directory for one that was not met in this state.
func (p *picking) pick(at string, n store.Node, taken bool, depth int) (become picked, err error) {
	dir, err := p.kept.Get(p.ctx, n.Digest)
	if err != nil {
		return become, store.About("directory", n.Digest, err)
	}
	left := make(store.Directory, 0, len(dir))
	for _, child := range dir {
		name := path.Join(at, child.Name)
		choice := p.choose(name, &child, taken)
		isDir, stays := child.Kind == store.KindDirectory, choice == Take
		if choice != LeaveOut && isDir {
			var some bool
			if child, some, err = p.directory(name, child, taken || stays, depth+1); err != nil {
				return become, err
			}
			stays = stays || some
		}
		if stays {
			left = append(left, child)
		}
	}
	become.some = len(left) > 0
	if slices.Equal(left, dir) {
		become.digest = n.Digest
		become.size, err = dir.Size(p.kept.rule)
		return become, err
	}
	become.digest, become.size, err = p.kept.put(left)
	return become, err
}
