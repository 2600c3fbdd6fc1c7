package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"castar/ingest"
	"castar/store"
	"castar/store/history"
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
			if d, err := old.Root.RootDigest(); err == nil && !history.SameRoot(old.Root, t.Root) {
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
	if !history.SameRoot(old, t.Root) {
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

// jsonIngested is what castar ingest --json prints of each PATH.
type jsonIngested struct {
	jsonRoot
	Source       string        `json:"source,omitempty"`
	SourceBase64 string        `json:"source_base64,omitempty"`
	Tag          string        `json:"tag,omitempty"`
	store.Counts               // before deduplication
	Excluded     uint64        `json:"excluded" help:"entries that patterns and options left out"`
	Seconds      float64       `json:"seconds"`
	LeftOut      []jsonLeftOut `json:"left_out"` // never null

	MovedFrom string  `json:"moved_from,omitempty" help:"the root that the tag had before"`
	Listing   string  `json:"listing,omitempty" help:"the digest of the blob with modes, owners and times"`
	Private   uint64  `json:"private,omitempty" help:"entries that others may not read"`
	New       *uint64 `json:"new_files,omitempty" help:"since the last ingest of the same source and tag, as far as that is known"`
	Changed   *uint64 `json:"changed_files,omitempty"`
	Unchanged *uint64 `json:"unchanged_files,omitempty"`
	Added     *uint64 `json:"added_bytes,omitempty" help:"contents that the store did not have, in the last object, of all PATHs"`
	Stored    *uint64 `json:"stored_bytes,omitempty" help:"what was written for them, likewise"`
}

func (jsonIngested) lineType() string { return "ingest" }

// jsonLeftOut is an entry that could not be stored.
type jsonLeftOut struct {
	jsonPath
	Reason string `json:"reason"`
}

func newJSONIngested(f *ingestFlags, r *ingested) (jsonIngested, error) {
	root, err := newJSONRoot(r.Root)
	j := jsonIngested{jsonRoot: root, Tag: f.tag, Counts: r.Counts, Excluded: r.Excluded,
		Seconds: r.seconds, LeftOut: []jsonLeftOut{}, MovedFrom: r.movedFrom, Private: r.Private}
	j.Source, j.SourceBase64 = store.JSONName(r.source)
	for _, p := range r.LeftOut {
		j.LeftOut = append(j.LeftOut, jsonLeftOut{newJSONPath(p.Path), p.Err.Error()})
	}
	if r.Listing != (store.Digest{}) {
		j.Listing = r.Listing.String()
	}
	if c := r.since; c != nil {
		j.New, j.Changed, j.Unchanged = &c.New, &c.Changed, &c.Unchanged
	}
	return j, err
}

// printIngested writes the result for one path, and with --verbose what the path held. added is what the store can tell of
// all paths, or nil.
func (e *env) printIngested(f *ingestFlags, r *ingested, added *sum) error {
	j, err := newJSONIngested(f, r)
	if err != nil {
		return err
	}
	if added != nil {
		j.Added, j.Stored = &added.contents, &added.stored
	}
	e.print(j, j.Root)
	if e.verbose {
		c := r.Counts
		e.note(fmt.Sprintf("%s: %s, %s, %s, %s, %d excluded, in %.1f s", r.source, plural(c.Files, "file"),
			plural(c.Directories, "directory"), plural(c.Symlinks, "symbolic link"), store.HumanBytes(c.Bytes), r.Excluded, r.seconds))
	}
	if r.movedFrom != "" {
		e.note(fmt.Sprintf("tag %s moved from %s", quote(f.tag), r.movedFrom[:shortDigits]))
	}
	return nil
}

func (e *env) noteIngested(results []ingested, added *sum, took time.Duration) {
	var c change
	var files, private uint64
	known := true
	for _, r := range results {
		files += r.Counts.Files
		if r.Listing == (store.Digest{}) {
			private += r.Private
		}
		if r.since == nil {
			known = false
			continue
		}
		c.New, c.Changed, c.Unchanged = c.New+r.since.New, c.Changed+r.since.Changed, c.Unchanged+r.since.Unchanged
	}
	text := fmt.Sprintf("new %s files, changed %s, unchanged %s", thousands(c.New), thousands(c.Changed), thousands(c.Unchanged))
	if c.New == 1 {
		text = fmt.Sprintf("new 1 file, changed %s, unchanged %s", thousands(c.Changed), thousands(c.Unchanged))
	}
	if !known {
		text = "read " + thousands(files) + " files"
	}
	e.note(text + added.text() + fmt.Sprintf(" in %.1f s", took.Seconds()))
	if private > 0 {
		e.note(plural(private, "entry") + " that others may not read: without metadata, nothing keeps that")
	}
}

// sum is how much was added to a store.
type sum struct{ contents, stored uint64 }

// added returns what was added to st, or nil if st cannot tell. st may be nil.
func added(st *store.Store) *sum {
	if st == nil || st.Meter == nil {
		return nil
	}
	contents, stored := st.Meter.Added()
	return &sum{contents, stored}
}

// text says what was added, after a semicolon. a may be nil.
func (a *sum) text() string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf("; added %s (%s stored)", store.HumanBytes(a.contents), store.HumanBytes(a.stored))
}

// thousands returns n with commas.
func thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
