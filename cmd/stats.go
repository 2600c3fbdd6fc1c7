package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const statsHelp = `
Counts what each ROOT holds, and what all of them hold together. Without a ROOT, it counts all tags.

LOGICAL is the size of all files, each counted wherever it occurs. "unique" counts equal contents, and equal chunks of
contents, once. "stored" is the compressed space of these contents in the store, and the space of their directories. If
several objects were compressed together, each counts in proportion to its length. The index does not count.

Without a ROOT, stats also shows ALONE and two more lines. ALONE is the space that only this tag needs. If no line of
the log names its root either, deleting the tag and running 'castar gc' would free this space. A remote store does not
know it, and stats prints "-". "log" is the additional space of roots that only the log names, and of listings. "rest"
is the space of what neither a tag nor the log names. 'castar gc' frees the rest, unless another process is about to
name it. On a terminal, stats then shows a histogram of file sizes.

Examples:
  castar stats                                      # what each tag takes
  castar stats v1 v2                                # what two versions share`

func (e *env) statsCommand() *cli.Command {
	return &cli.Command{
		Name:        "stats",
		Usage:       "count what is stored, and the space it takes",
		UsageText:   "castar stats [flags] [ROOT[:path]...]",
		Description: withJSON(statsHelp, "there is an object for each tag or ROOT", jsonMeasured{}, "The last object is the sum", jsonTotal{}),
		Action: func(c *cli.Context) error {
			return e.withStore(c.Context, forRead, func(st *store.Store) error { return e.stats(c.Context, st, c.Args().Slice()) })
		},
	}
}

// measured is a root and what it holds.
type measured struct {
	name   string // a tag, or as it was typed
	root   store.Node
	counts store.Counts
	alone  uint64
}

func (e *env) stats(ctx context.Context, st *store.Store, refs []string) error {
	roots, damaged, err := e.toMeasure(ctx, st, refs)
	if err != nil {
		return err
	}
	u := tree.NewUsage(st)
	stop := e.startProgress(func() sample { return sample{files: u.Objects.Load(), unit: "objects"} })
	err = measure(ctx, u, roots, len(refs) == 0)
	of, more := u.Unique, (*untagged)(nil)
	if err == nil && len(refs) == 0 {
		more, err = e.measureUntagged(ctx, st, u)
		damaged = damaged || more != nil && more.damaged
	}
	stop()
	if err != nil {
		return err
	}
	var total store.Counts
	for _, m := range roots {
		total = tree.AddCounts(total, m.counts)
	}
	if e.json {
		err = e.printStatsJSON(roots, total, &of, more)
	} else {
		err = e.printStats(roots, total, &of, more)
	}
	return partly(err, damaged)
}

// toMeasure returns what refs mean, or all tags. It names on stderr each tag that cannot be read.
func (e *env) toMeasure(ctx context.Context, st *store.Store, refs []string) (roots []*measured, damaged bool, err error) {
	found, err := rootsOf(ctx, st, refs)
	for _, r := range found {
		roots = append(roots, &measured{name: r.Name, root: r.Node})
	}
	if len(refs) > 0 {
		return roots, false, err
	}
	if err := needTags(ctx, st); err != nil {
		return nil, false, err
	}
	tags, damaged, err := e.tagsOf(ctx, st)
	if err != nil {
		return nil, damaged, err
	}
	for _, t := range tags {
		roots = append(roots, &measured{name: t.Name, root: t.Root})
	}
	return roots, damaged, ctx.Err()
}

// measure fills in the roots and u. owners says that the roots are all tags, so each owns what only it reaches.
func measure(ctx context.Context, u *tree.Usage, roots []*measured, owners bool) (err error) {
	for _, m := range roots {
		if m.counts, err = u.Add(ctx, m.root); err == nil && owners {
			err = u.Own(ctx, m.root)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", quote(m.name), err)
		}
	}
	for _, m := range roots {
		if !owners {
			break
		}
		if m.alone, err = u.Alone(ctx, m.root); err != nil {
			return fmt.Errorf("%s: %w", quote(m.name), err)
		}
	}
	return nil
}

// untagged is what has no tag.
type untagged struct {
	Roots   uint64  `json:"log_roots" help:"that only the log names, if no ROOT is given, as the next three"`
	Log     *uint64 `json:"log_bytes,omitempty" help:"stored for them, and for listings, in addition"`
	Objects *uint64 `json:"rest_objects,omitempty" help:"which neither tags nor log name"`
	Rest    *uint64 `json:"rest_bytes,omitempty" help:"stored for those"`
	damaged bool    // some of it could not be read
}

// measureUntagged measures what u has not measured yet. It names on stderr what cannot be read.
func (e *env) measureUntagged(ctx context.Context, st *store.Store, u *tree.Usage) (*untagged, error) {
	kept := tree.ReadKept(ctx, st)
	more, before := &untagged{}, u.Unique.Stored+u.Unique.StoredDirs
	more.damaged = len(kept.LogErrors) > 0
	if err := e.warnUnread(kept.LogErrors); err != nil {
		return nil, err
	}
	roots, listings := kept.Roots(ctx, st)
	more.Roots = uint64(len(roots)-len(kept.Tags)) - listings
	if st.Sizer == nil {
		return more, ctx.Err()
	}
	for _, r := range roots[len(kept.Tags):] {
		if _, err := u.Add(ctx, r.Node); ctx.Err() != nil || store.IsServerError(err) {
			return nil, err
		} else if err != nil {
			more.damaged = true
			e.warn(r.Name + ": " + err.Error())
		}
	}
	more.Log = new(u.Unique.Stored + u.Unique.StoredDirs - before)
	objects, bytes, known, err := u.Rest(ctx)
	if known {
		more.Objects, more.Rest = &objects, &bytes
	}
	return more, err
}

// sized reports whether the store can tell what an object takes. m may be nil.
func (m *untagged) sized() bool { return m != nil && m.Log != nil }

// print says how much has no tag, if there is anything. m may be nil.
func (m *untagged) print(w io.Writer) {
	if m == nil {
		return
	}
	if m.Log != nil && *m.Log > 0 {
		fmt.Fprintf(w, "log     %s more, for %s without a tag and for listings\n", store.HumanBytes(*m.Log), plural(m.Roots, "root"))
	} else if m.Log == nil && m.Roots > 0 {
		fmt.Fprintf(w, "log     %s without a tag\n", plural(m.Roots, "root"))
	}
	if m.Rest != nil && *m.Objects > 0 {
		fmt.Fprintf(w, "rest    %s in %s that nothing names\n", store.HumanBytes(*m.Rest), plural(*m.Objects, "object"))
	}
}

// jsonMeasured is what castar stats --json prints of each root.
type jsonMeasured struct {
	Tag        string `json:"tag,omitempty" help:"if no ROOT is given"`
	Ref        string `json:"ref" help:"the tag, or the ROOT as it was typed"`
	RefBase64  string `json:"ref_base64,omitempty"`
	Name       string `json:"name" help:"the old name of ref"`
	NameBase64 string `json:"name_base64,omitempty"`
	jsonRoot
	store.Counts
	Alone *uint64 `json:"alone,omitempty" help:"bytes, if no ROOT is given and the store can tell"`
}

func (jsonMeasured) lineType() string { return "root" }

// jsonTotal is what castar stats --json prints last.
type jsonTotal struct {
	Total bool `json:"total" help:"always true"`
	store.Counts
	UniqueFiles       uint64     `json:"unique_files"`
	UniqueDirectories uint64     `json:"unique_directories"`
	Chunks            uint64     `json:"chunks"` // different ones, of files that have more than one
	UniqueBytes       uint64     `json:"unique_bytes"`
	StoredBytes       uint64     `json:"stored_bytes" help:"0 if the store cannot tell, as a remote one cannot"`
	StoredDirectories uint64     `json:"stored_directories" help:"bytes"`
	DedupRatio        float64    `json:"dedup_ratio"`       // bytes / unique_bytes; 0 if there are none
	CompressionRatio  float64    `json:"compression_ratio"` // unique_bytes / stored_bytes; 0 if unknown
	Sizes             []jsonSize `json:"sizes"`
	*untagged
}

func (jsonTotal) lineType() string { return "summary" }

// jsonSize is the number of different files that have fewer than Below bytes, and are not in an earlier class.
type jsonSize struct {
	Below uint64 `json:"below" help:"bytes; 0 means no limit"`
	Files uint64 `json:"files"`
}

func (e *env) printStatsJSON(roots []*measured, total store.Counts, u *tree.Unique, more *untagged) error {
	owners := more != nil
	out := e.newLinePrinter(false)
	for _, m := range roots {
		root, err := newJSONRoot(m.root)
		if err != nil {
			return err
		}
		j := jsonMeasured{jsonRoot: root, Counts: m.counts}
		j.Ref, j.RefBase64 = store.JSONName(m.name)
		j.Name, j.NameBase64 = j.Ref, j.RefBase64
		if owners {
			j.Tag = m.name
		}
		if more.sized() {
			j.Alone = &m.alone
		}
		out.json(j)
	}
	j := jsonTotal{true, total, u.Files, u.Directories, u.Chunks, u.Bytes, u.Stored, u.StoredDirs,
		ratio(total.Bytes, u.Bytes), ratio(u.Bytes, u.Stored), nil, more}
	for i, files := range u.Sizes {
		j.Sizes = append(j.Sizes, jsonSize{tree.SizeLimit(i), files})
	}
	out.json(j)
	return out.Flush()
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func (e *env) printStats(roots []*measured, total store.Counts, u *tree.Unique, more *untagged) error {
	w := newTable(e.stdout)
	what, owners := "ROOT", more != nil
	if owners {
		what = "TAG"
	}
	fmt.Fprintf(w, "%s\tFILES\tDIRECTORIES\tSYMLINKS\tLOGICAL", what)
	if owners {
		fmt.Fprint(w, "\tALONE")
	}
	fmt.Fprintln(w)
	for _, m := range append(roots, &measured{name: "all", counts: total}) {
		c := m.counts
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s", quote(m.name), c.Files, c.Directories, c.Symlinks, store.HumanBytes(c.Bytes))
		switch {
		case m.root.Kind == 0 || !owners:
		case more.sized():
			fmt.Fprintf(w, "\t%s", store.HumanBytes(m.alone))
		default:
			fmt.Fprint(w, "\t-")
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	stored := "unknown"
	if u.Stored+u.StoredDirs > 0 {
		stored = fmt.Sprintf("%s of files, compressed %.2f to 1, and %s of directories",
			store.HumanBytes(u.Stored), ratio(u.Bytes, u.Stored), store.HumanBytes(u.StoredDirs))
	}
	fmt.Fprintf(e.stdout, "\nunique  %s in %s, deduplicated %.2f to 1, and %s\nstored  %s\n", store.HumanBytes(u.Bytes),
		plural(u.Files, "file"), ratio(total.Bytes, u.Bytes), plural(u.Directories, "directory"), stored)
	more.print(e.stdout)
	if e.isTerminal() && u.Files > 0 {
		fmt.Fprintln(e.stdout)
		printHistogram(e.stdout, &u.Sizes)
	}
	return nil
}

// histogramWidth is the length of the longest bar.
const histogramWidth = 40

// printHistogram draws the number of files in each class of sizes, up to the last class with files.
func printHistogram(out io.Writer, sizes *[tree.SizeClasses]uint64) {
	most, last := uint64(1), 0
	for i, n := range sizes {
		if most = max(most, n); n > 0 {
			last = i
		}
	}
	w := newTable(out)
	for i, n := range sizes[:last+1] {
		label := "empty"
		switch limit := tree.SizeLimit(i); {
		case i > 0 && limit == 0:
			label = "more"
		case i > 0:
			label = "below " + strings.Replace(store.HumanBytes(limit), ".0 ", " ", 1)
		}
		bar := int((n*histogramWidth + most - 1) / most)
		fmt.Fprintf(w, "%s\t%d\t%s\n", label, n, strings.Repeat("█", bar))
	}
	w.Flush()
}
