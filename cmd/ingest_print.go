package cmd

import (
	"fmt"
	"strconv"
	"time"

	"castar/store"
)

// jsonIngested is what castar ingest --json prints of each PATH.
type jsonIngested struct {
	jsonRoot
	jsonSource
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
	j := jsonIngested{jsonRoot: root, jsonSource: newJSONSource(r.source), Tag: f.tag, Counts: r.Counts, Excluded: r.Excluded,
		Seconds: r.seconds, LeftOut: []jsonLeftOut{}, MovedFrom: r.movedFrom, Private: r.Private}
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
		e.note("ingest", fmt.Sprintf("%s: %s, %s, %s, %s, %d excluded, in %.1f s", r.source, plural(c.Files, "file"),
			plural(c.Directories, "directory"), plural(c.Symlinks, "symbolic link"), humanBytes(c.Bytes), r.Excluded, r.seconds))
	}
	if r.movedFrom != "" {
		e.note("ingest", fmt.Sprintf("tag %s moved from %s", quote(f.tag), r.movedFrom[:shortDigits]))
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
	e.note("ingest", text+added.text()+fmt.Sprintf(" in %.1f s", took.Seconds()))
	if private > 0 {
		e.note("ingest", plural(private, "entry")+" that others may not read: without metadata, nothing keeps that")
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
	return fmt.Sprintf("; added %s (%s stored)", humanBytes(a.contents), humanBytes(a.stored))
}

// thousands returns n with commas.
func thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
