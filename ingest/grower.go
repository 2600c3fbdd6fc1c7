package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"castar/store"
	"castar/store/posix"
)

// grower is a tree that grows from entries in any order, as an archive has them. It holds directories in memory, up to
// a limit. Beyond that it moves those that are not on the way to the last entry to a temporary file, and takes them back
// when an entry of theirs comes. It is not for concurrent use.
type grower struct {
	root  branch
	held  int // bytes that the branches in memory take, roughly
	most  int // of held, unless a single path takes more
	limit int // the same, or more while a single path does
	spill *os.File
	end   int64 // of spill

	special map[string]Problem // entries that are not files, directories or symlinks, by path
}

// branch is a directory in memory.
type branch struct {
	up    *branch // nil for the root
	name  string
	depth int                   // 0 for the root
	nodes map[string]store.Node // its entries. A directory has no digest yet; see folded
	open  map[string]*branch    // the directories among them that are in memory
	older store.Digest          // where more entries are in the temporary file, unless they were replaced; see folded
}

const (
	// growLimit is how much memory a grower uses: about 300,000 entries.
	growLimit = 64 << 20
	// nodeCost and branchCost are what an entry takes besides its name and target, and a directory besides its entries.
	nodeCost, branchCost = 200, 300
)

func newGrower() *grower { return &grower{most: growLimit, limit: growLimit} }

func (g *grower) close() {
	if g.spill != nil {
		g.spill.Close()
	}
}

// Reasons why an entry has no place in the tree.
const (
	errBelowFile    = refusal("is below a file")
	errBelowSymlink = refusal("is below a symbolic link")
	errBelowSpecial = refusal("is below something that is not a directory")
	errNoTarget     = refusal("is a hard link to something that is not in the archive before it")
	errLinkToDir    = refusal("is a hard link to a directory")
)

// directory returns the directory at a clean path, which is made if it is not there.
func (g *grower) directory(path string) (b *branch, err error) {
	for b = &g.root; path != "" && err == nil; {
		var name string
		name, path, _ = strings.Cut(path, "/")
		b, err = g.enter(b, name)
	}
	return b, err
}

// enter returns the directory name in b, which it makes if it is not there.
func (g *grower) enter(b *branch, name string) (*branch, error) {
	if kid := b.open[name]; kid != nil {
		return kid, nil
	}
	n, ok, err := g.entry(b, name)
	switch {
	case err != nil:
		return nil, err
	case n.Kind == store.KindSymlink:
		return nil, errBelowSymlink
	case n.Kind == store.KindFile:
		return nil, errBelowFile
	case !ok && g.isSpecial(b, name):
		return nil, errBelowSpecial
	case b.depth+1 >= store.MaxDepth:
		return nil, store.ErrTooDeep
	}
	kid := &branch{up: b, name: name, depth: b.depth + 1, older: n.Digest}
	if !ok {
		g.put(b, name, store.Node{Kind: store.KindDirectory})
	}
	if b.open == nil {
		b.open = map[string]*branch{}
	}
	b.open[name] = kid
	g.held += branchCost
	return kid, g.shrink(kid)
}

// set makes n the entry name of b, in place of what was there. An entry that is a directory must be made by enter.
func (g *grower) set(b *branch, name string, n store.Node) error {
	g.remove(b, name)
	g.put(b, name, n)
	return g.shrink(b)
}

// put adds an entry that is not there.
func (g *grower) put(b *branch, name string, n store.Node) {
	if b.nodes == nil {
		b.nodes = map[string]store.Node{}
	}
	n.Name, n.Target = strings.Clone(name), strings.Clone(n.Target) // and not the rest of a long header
	b.nodes[n.Name] = n
	g.held += cost(&n)
}

func cost(n *store.Node) int { return nodeCost + len(n.Name) + len(n.Target) }

// remove removes an entry and everything below it.
func (g *grower) remove(b *branch, name string) {
	n, ok := b.nodes[name]
	if len(g.special) > 0 {
		g.forget(b, name, n.Kind == store.KindDirectory || b.older != (store.Digest{}))
	}
	if !ok {
		return
	}
	if kid := b.open[name]; kid != nil {
		g.held -= kid.cost()
		delete(b.open, name)
	}
	g.held -= cost(&n)
	delete(b.nodes, name)
}

// cost returns what b and all below it take in memory.
func (b *branch) cost() int {
	sum := branchCost
	for _, n := range b.nodes {
		sum += cost(&n)
	}
	for _, kid := range b.open {
		sum += kid.cost()
	}
	return sum
}

// path returns the path of the entry name of b.
func (b *branch) path(name string) string {
	parts := []string{name}
	for ; b.up != nil; b = b.up {
		parts = append(parts, b.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// setSpecial removes the entry name of b, because one that cannot be stored took its place.
func (g *grower) setSpecial(b *branch, name string, p Problem) error {
	if err := g.load(b); err != nil {
		return err
	}
	g.remove(b, name)
	if g.special == nil {
		g.special = map[string]Problem{}
	}
	g.special[b.path(name)] = p
	return nil
}

func (g *grower) isSpecial(b *branch, name string) bool {
	if len(g.special) == 0 {
		return false
	}
	_, is := g.special[b.path(name)]
	return is
}

// forget drops the special entries that are replaced with the entry name of b.
func (g *grower) forget(b *branch, name string, below bool) {
	path := b.path(name)
	delete(g.special, path)
	if !below {
		return
	}
	for p := range g.special {
		if strings.HasPrefix(p, path) && p[len(path)] == '/' {
			delete(g.special, p)
		}
	}
}

// find returns the entry at a clean path. The error says why it cannot be the target of a hard link.
func (g *grower) find(path string) (n store.Node, err error) {
	n.Kind = store.KindDirectory
	for b := &g.root; path != ""; {
		var name string
		var ok bool
		name, path, _ = strings.Cut(path, "/")
		n, ok, err = g.entry(b, name)
		if err == nil && (!ok || path != "" && n.Kind != store.KindDirectory) {
			err = errNoTarget
		}
		if err == nil && path != "" {
			b, err = g.enter(b, name)
		}
		if err != nil {
			return n, err
		}
	}
	if n.Kind == store.KindDirectory {
		err = errLinkToDir
	}
	return n, err
}

// shrink moves branches out of memory if there are too many. The one that is in use stays, and those that lead to it.
func (g *grower) shrink(used *branch) error {
	if g.held <= g.limit {
		return nil
	}
	for b := used; b != nil; b = b.up {
		for name, kid := range b.open {
			if kid == used || kid.leadsTo(used) {
				continue
			}
			if err := g.fold(b, name, kid); err != nil {
				return err
			}
		}
	}
	g.limit = max(g.most, g.held+g.held/2)
	return nil
}

// leadsTo reports whether b is above another branch.
func (b *branch) leadsTo(other *branch) bool {
	for other.depth > b.depth {
		other = other.up
	}
	return other == b
}

// fold moves the directory kid, the entry name of b, to the temporary file.
func (g *grower) fold(b *branch, name string, kid *branch) error {
	for name, grandkid := range kid.open {
		if err := g.fold(kid, name, grandkid); err != nil {
			return err
		}
	}
	message, err := store.EncodeDirectory(kid.sorted())
	if err != nil {
		return Problem{Path: b.path(name), Err: err}
	}
	if g.spill == nil {
		if g.spill, err = posix.Nameless(""); err != nil {
			return err
		}
	}
	record := append(kid.older[:], message...)
	if _, err := g.spill.WriteAt(record, g.end); err != nil {
		return err
	}
	n := b.nodes[name]
	n.Digest = folded(g.end, len(record))
	b.nodes[name] = n
	g.end += int64(len(record))
	g.held -= kid.cost()
	delete(b.open, name)
	return nil
}

// folded returns what stands for the digest of a directory that is in the temporary file.
func folded(at int64, length int) (d store.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(at))
	binary.LittleEndian.PutUint64(d[8:], uint64(length))
	return d
}

// load reads the entries of b that are in the temporary file, unless they were replaced since.
func (g *grower) load(b *branch) error {
	for b.older != (store.Digest{}) {
		record := make([]byte, binary.LittleEndian.Uint64(b.older[8:]))
		if _, err := g.spill.ReadAt(record, int64(binary.LittleEndian.Uint64(b.older[:]))); err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
		dir, err := store.DecodeDirectory(record[store.DigestSize:])
		if err != nil {
			return fmt.Errorf("temporary file: %w", err)
		}
		b.older = store.Digest(record[:store.DigestSize])
		if b.nodes == nil {
			b.nodes = make(map[string]store.Node, len(dir))
		}
		for _, n := range dir {
			if _, ok := b.nodes[n.Name]; !ok {
				b.nodes[n.Name] = n
				g.held += cost(&n)
			}
		}
	}
	return nil
}

func (g *grower) entry(b *branch, name string) (n store.Node, ok bool, err error) {
	if n, ok = b.nodes[name]; !ok {
		err = g.load(b)
		n, ok = b.nodes[name]
	}
	return n, ok, err
}

func (b *branch) sorted() store.Directory {
	dir := make(store.Directory, 0, len(b.nodes))
	for _, n := range b.nodes {
		dir = append(dir, n)
	}
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	return dir
}

// grown is where the directories of a complete tree go.
type grown struct {
	ctx    context.Context
	upload store.DirectoryWriter
	rule   store.SizeRule
	counts store.Counts
}

// finish stores the directory b after everything below it, and returns its node. Nothing can be added afterwards.
func (g *grower) finish(to *grown, b *branch) (n store.Node, err error) {
	if err := to.ctx.Err(); err != nil {
		return n, err
	}
	if err := g.load(b); err != nil {
		return n, err
	}
	dir := b.sorted()
	b.nodes = nil
	for i := range dir {
		kid := &dir[i]
		if kid.Kind != store.KindDirectory {
			count(&to.counts, kid)
			continue
		}
		at := b.open[kid.Name]
		if at == nil {
			at = &branch{up: b, name: kid.Name, depth: b.depth + 1, older: kid.Digest}
		}
		delete(b.open, kid.Name)
		done, err := g.finish(to, at)
		if err != nil {
			return n, err
		}
		kid.Digest, kid.Size = done.Digest, done.Size
	}
	n.Kind = store.KindDirectory
	count(&to.counts, &n)
	if n.Size, err = dir.Size(to.rule); err == nil {
		n.Digest, err = to.upload.Put(to.ctx, dir)
	}
	if err != nil && b.up != nil {
		err = fmt.Errorf("%s: %w", store.Quote(store.ShortPath(b.up.path(b.name))), err)
	}
	return n, err
}

// count adds a node to c, without what is below it.
func count(c *store.Counts, n *store.Node) {
	switch n.Kind {
	case store.KindFile:
		c.Files++
		c.Bytes += n.Size
	case store.KindSymlink:
		c.Symlinks++
	case store.KindDirectory:
		c.Directories++
	}
}
