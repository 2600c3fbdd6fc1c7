package cmd

import (
	"context"
	"errors"
	"fmt"

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

// compareFacts returns what the listings say in another way of an entry that both sides have.
func (p *diffPrinter) compareFacts(path string, oldNode, node *store.Node) (ops []tree.Op) {
	old, hasOld := p.facts[0].Find(path, oldNode)
	is, ok := p.facts[1].Find(path, node)
	switch {
	case !ok || !hasOld:
		return nil
	case node.Kind != store.KindSymlink && old.Mode != is.Mode:
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
