package tree

import (
	"context"
	"fmt"

	"castar/store"
)

// Untagged is what a store has and no tag reaches. A field that is nil is not known.
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
