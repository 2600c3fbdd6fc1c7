package tree

import (
	"context"
	"fmt"

	"castar/store"
)

// Measured is a root and what it holds.
type Measured struct {
	Root
	Counts store.Counts
	Alone  uint64 // bytes that it takes and no other tag needs; 0 if it is no tag
}

// Measure counts with Add what each of roots holds. owners says that they are all tags of the store: then it also finds
// what each takes alone. The error names the root that it is about.
func (u *Usage) Measure(ctx context.Context, roots []Root, owners bool) ([]Measured, error) {
	all := make([]Measured, len(roots))
	for i, r := range roots {
		counts, err := u.Add(ctx, r.Node)
		if err == nil && owners {
			err = u.Own(ctx, r.Node)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", store.Quote(r.Name), err)
		}
		all[i] = Measured{Root: r, Counts: counts}
	}
	for i := range all {
		if !owners {
			break
		}
		var err error
		if all[i].Alone, err = u.Alone(ctx, all[i].Node); err != nil {
			return nil, fmt.Errorf("%s: %w", store.Quote(all[i].Name), err)
		}
	}
	return all, nil
}

// Untagged is what a store has and no tag reaches. What is nil is not known.
type Untagged struct {
	Roots   uint64  `json:"log_roots" help:"that only the log names, if no ROOT is given, as the next three"`
	Log     *uint64 `json:"log_bytes,omitempty" help:"stored for them, and for listings, in addition"`
	Objects *uint64 `json:"rest_objects,omitempty" help:"which neither tags nor log name"`
	Rest    *uint64 `json:"rest_bytes,omitempty" help:"stored for those"`
}

// MeasureUntagged measures what the log keeps, and what nothing keeps, after Measure has measured the tags of kept. unread
// is told what cannot be read, with the name of its root. The error is that of a server, or of ctx.
func (u *Usage) MeasureUntagged(ctx context.Context, kept Kept, unread func(error)) (*Untagged, error) {
	roots, listings := kept.Roots(ctx, u.st)
	m, before := &Untagged{Roots: uint64(len(roots)-len(kept.Tags)) - listings}, u.Unique.Stored+u.Unique.StoredDirs
	if u.st.Sizer == nil {
		return m, ctx.Err()
	}
	for _, r := range roots[len(kept.Tags):] {
		if _, err := u.Add(ctx, r.Node); ctx.Err() != nil || store.IsServerError(err) {
			return nil, err
		} else if err != nil {
			unread(fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	m.Log = new(u.Unique.Stored + u.Unique.StoredDirs - before)
	objects, bytes, known, err := u.Rest(ctx)
	if known {
		m.Objects, m.Rest = &objects, &bytes
	}
	return m, err
}
