package cmd

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"castar/ingest"
	"castar/store"
	"castar/store/tree"
)

// ingested is a root, where and how fast it was read, and what it is compared with.
type ingested struct {
	ingest.Result
	source    string // absolute
	seconds   float64
	movedFrom string  // the digest that the tag had before, or ""
	since     *change // or nil if it is not known which ingest was the last
}

// change is how many files differ from an earlier ingest.
type change struct{ New, Changed, Unchanged uint64 }

// keep makes what was stored durable. Only then it names it in the log and, unless there is none, by the tag. If
// st is nil, nothing was stored.
func keep(ctx context.Context, st *store.Store, f *ingestFlags, results []ingested) error {
	if st == nil {
		return nil
	}
	if err := st.Send(ctx); err != nil || st.Tags == nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // nothing depends on it
	}
	for i := range results {
		r := &results[i]
		t := store.Tag{Name: f.tag, Root: r.Root, Time: time.Now(), Source: r.source, Counts: r.Counts, Host: strings.ToValidUTF8(host, "?"),
			Comment: f.comment, Version: readVersion().Version, Seconds: r.seconds, Listing: r.Listing}
		if err := r.compare(ctx, st, t); err != nil {
			return err
		}
		err := st.Keep(ctx, t)
		if errors.Is(err, store.ErrUnsupported) && f.tag == "" { // a server without tags, as those of tvix and snix
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compare finds out how t, which is not recorded yet, differs from the ingest before, and where its tag pointed.
func (r *ingested) compare(ctx context.Context, st *store.Store, t store.Tag) error {
	last, known := store.Tag{}, false
	if t.Name != "" {
		if old, err := st.Tags.Get(ctx, t.Name); err == nil {
			if d, err := old.Root.RootDigest(); err == nil && !sameRoot(old.Root, t.Root) {
				r.movedFrom = d.String()
			}
			last, known = old, old.Source == t.Source
		}
	}
	if !known && st.NewSet == nil && st.RemoteTags == nil { // it would take a request for each line of the log
		return nil
	}
	if !known {
		last = lastOf(ctx, st, t)
	}
	c, err := changes(ctx, st, last.Root, t)
	if err == nil {
		r.since = &c
	}
	return ctx.Err() // what is missing of the old tree is no reason to fail
}

// lastOf returns the last recorded ingest of the source of t with its tag, or the zero Tag.
func lastOf(ctx context.Context, st *store.Store, t store.Tag) (last store.Tag) {
	ingests, _ := tree.History(ctx, st)
	for i := len(ingests) - 1; i >= 0; i-- {
		if ingests[i].Source == t.Source && ingests[i].Name == t.Name {
			return ingests[i]
		}
	}
	return store.Tag{}
}

// changes counts the files of t by what they were in an older root, which may be the zero Node. It reads only directories
// that differ.
func changes(ctx context.Context, st *store.Store, old store.Node, t store.Tag) (c change, err error) {
	if old.Kind == 0 {
		return change{New: t.Counts.Files}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !sameRoot(old, t.Root) {
		st.Expect(ctx, old)
		st.Expect(ctx, t.Root)
	}
	sides := [2]tree.Side{{Root: old, Directories: st.Directories}, {Root: t.Root, Directories: st.Directories}}
	for d, err := range tree.Diff(ctx, sides[0], sides[1], tree.DiffOptions{Recursive: true, NoRenames: true}) {
		switch {
		case err != nil:
			return c, err
		case d.New.Kind != store.KindFile:
		case d.Op == tree.Added:
			c.New++
		default:
			c.Changed++
		}
	}
	c.Unchanged = t.Counts.Files - min(t.Counts.Files, c.New+c.Changed)
	return c, nil
}
