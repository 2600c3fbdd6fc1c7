package cmd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"castar/ingest/sides"
	"castar/store"
	"castar/store/listing"
	"castar/store/tree"
)

// What a listing says in another way of an entry that both sides have.
const (
	changedMode  tree.Op = 'p'
	changedTime  tree.Op = 't'
	changedOwner tree.Op = 'o'
)

func openFactsOfBoth(ctx context.Context, st *store.Store, both [2]*sides.Side, left *complaints) (kept [2]*listing.Stored, err error) {
	for i, s := range both {
		if kept[i], err = openFacts(ctx, st, s.Ref, left.listing); err == nil && kept[i] == nil {
			err = errors.New("no listing of modes, times and owners is kept for it; a tag or a line of the log has one")
		}
		if err != nil {
			return kept, fmt.Errorf("%s: %w", quote(s.Arg), err)
		}
	}
	return kept, nil
}

// withFacts adds to changes, which are those of tree.Diff, what the listings say of entries that both sides have. It keeps
// the order of paths.
func (p *diffPrinter) withFacts(ctx context.Context, changes iter.Seq2[tree.Change, error]) iter.Seq2[tree.Change, error] {
	return func(yield func(tree.Change, error) bool) {
		next, stop := iter.Pull2(changes)
		defer stop()
		c, err, more := next()
		// upTo yields the changes before a path, or all of them.
		upTo := func(key string, all bool) bool {
			for more && (all || err != nil || orderOf(c.Path, c.IsDirectory()) <= key) {
				if !yield(c, err) || err != nil {
					return false
				}
				c, err, more = next()
			}
			return true
		}
		for entry, err := range tree.Walk(ctx, p.sides[1].Directories, p.sides[1].Root, -1) {
			if err != nil {
				yield(tree.Change{}, err)
				return
			}
			ops := p.compareFacts(&entry)
			if len(ops) == 0 {
				continue
			}
			if !upTo(orderOf(entry.Path, entry.Node.Kind == store.KindDirectory), false) {
				return
			}
			for _, op := range ops {
				if !yield(tree.Change{Op: op, Path: entry.Path, Old: entry.Node, New: entry.Node}, nil) {
					return
				}
			}
		}
		upTo("", true)
	}
}

// orderOf returns a path in the form by which tree.Diff and tree.Walk sort.
func orderOf(path string, isDir bool) string {
	if isDir && path != "" {
		path += "/"
	}
	return path
}

// compareFacts returns what the listings say in another way of an entry of the second side.
func (p *diffPrinter) compareFacts(entry *tree.Entry) (ops []tree.Op) {
	if !p.covers(entry.Path) {
		return nil
	}
	is, ok := p.facts[1].Find(entry.Path, &entry.Node)
	if !ok {
		return nil
	}
	n := entry.Node
	old, ok := factsOfKind(p.facts[0], entry.Path, &n)
	if !ok {
		return nil
	}
	if n.Kind != store.KindSymlink && old.Mode != is.Mode {
		ops = append(ops, changedMode)
	}
	if old.Seconds != is.Seconds || old.Nanoseconds != is.Nanoseconds {
		ops = append(ops, changedTime)
	}
	if old.UID != is.UID || old.GID != is.GID || old.User != is.User || old.Group != is.Group {
		ops = append(ops, changedOwner)
	}
	return ops
}

// covers reports whether a path is at or below one of those that were typed.
func (p *diffPrinter) covers(path string) bool {
	if len(p.f.options.Paths) == 0 {
		return true
	}
	for _, of := range p.f.options.Paths {
		of = strings.Trim(of, "/")
		if of == "" || of == "." || path == of || strings.HasPrefix(path, of+"/") {
			return true
		}
	}
	return false
}

// factsOfKind returns what a listing says of an entry of another tree, which may have another size there.
func factsOfKind(kept *listing.Stored, path string, n *store.Node) (e listing.Entry, ok bool) {
	e, _ = kept.Find(path, n)
	return e, e.Kind == n.Kind
}
