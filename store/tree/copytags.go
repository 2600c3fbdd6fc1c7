package tree

import (
	"context"
	"errors"
	"fmt"

	"castar/store"
	"castar/store/history"
)

// CopiedRoot is a root to copy, and the tags that follow it.
type CopiedRoot struct {
	Root
	Tags  []store.Tag
	Whole bool       // all that the root and the listings of its tags reach is in the destination
	As    store.Node // what the root is there, if it is whole
}

// WithTags returns roots with those of tags that point at them.
func WithTags(roots []Root, tags []store.Tag) []CopiedRoot {
	all := make([]CopiedRoot, len(roots))
	for i, r := range roots {
		all[i].Root = r
		for _, t := range tags {
			if history.SameRoot(t.Root, r.Node) {
				all[i].Tags = append(all[i].Tags, t)
			}
		}
	}
	return all
}

// ExpectTagged is Expect for roots and for the listings of their tags.
func (c *Copier) ExpectTagged(ctx context.Context, roots []CopiedRoot) {
	var all []Root
	for _, r := range roots {
		all = append(all, r.Root)
		for _, t := range r.Tags {
			if t.Listing != (store.Digest{}) { // its size may take a request
				all = append(all, Root{Name: t.Name, Node: store.Node{Kind: store.KindFile, Digest: t.Listing}})
			}
		}
	}
	c.Expect(ctx, all...)
}

// CopyTagged is Copy for a root and for the listings of its tags, which are parts of what the tags name. It sets r.Whole and
// r.As, and makes the tags point at what the root is in the destination: its size is right even if a tag's is not.
func (c *Copier) CopyTagged(ctx context.Context, r *CopiedRoot) error {
	err := c.Copy(ctx, r.Root)
	if err != nil && !errors.Is(err, ErrIncomplete) {
		return err
	}
	r.As = c.As(r.Node)
	for i, t := range r.Tags {
		r.Tags[i].Root = r.As
		listing, ok := ListingOf(ctx, c.from, t, t.Name)
		if !ok {
			continue
		}
		if lerr := c.Copy(ctx, listing); errors.Is(lerr, ErrIncomplete) {
			err = lerr
		} else if lerr != nil {
			return lerr
		}
	}
	r.Whole = err == nil
	return err
}

// FollowTag sets t in the store that its root was copied to. conflict says why the tag was left alone: it points elsewhere
// or cannot be read and overwrite is false, a newer castar wrote it, the caller may not set it, or somebody has just
// changed it.
func FollowTag(ctx context.Context, to *store.Store, t store.Tag, overwrite bool) (conflict, err error) {
	old, err := to.Tags.Get(ctx, t.Name)
	switch {
	case store.IsNotFound(err):
		err = to.SwapTag(ctx, t, nil)
	case err != nil && (!overwrite || errors.Is(err, store.ErrNewer)):
		return fmt.Errorf("tag %q: %w", t.Name, err), nil
	case err != nil:
		err = to.Tags.Set(ctx, t)
	case history.SameRoot(old.Root, t.Root):
		return nil, nil
	case !overwrite:
		return fmt.Errorf("tag %q points elsewhere in the destination", t.Name), nil
	default:
		err = to.SwapTag(ctx, t, &old)
	}
	if errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrChanged) {
		return err, nil
	}
	return nil, err
}
