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
several objects were compressed together, each counts in proportion to its length. The index is not included.

Without a ROOT, stats also shows ALONE and two more lines. ALONE is the space that only this tag needs. If no line of
the log names its root either, deleting the tag and running 'castar gc' would free this space. A remote store does not
know it, and stats prints "-". "log" is the additional space of roots that only the log names, and of listings. "rest"
is the space of what neither a tag nor the log names. 'castar gc' frees the rest, except what another process is about
to name. On a terminal, stats then shows a histogram of file sizes.

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

func (e *env) stats(ctx context.Context, st *store.Store, refs []string) error {
	roots, damaged, err := e.toMeasure(ctx, st, refs)
	if err != nil {
		return err
	}
	u := tree.NewUsage(st)
	stop := e.startProgress(func() sample { return sample{files: u.Objects.Load(), unit: "objects"} })
	defer stop()
	measured, err := u.Measure(ctx, roots, len(refs) == 0)
	of, more := u.Unique, (*tree.Untagged)(nil)
	if err == nil && len(refs) == 0 {
		kept := tree.ReadKept(ctx, st)
		if err = e.warnUnread(kept.LogErrors); err == nil {
			damaged = damaged || len(kept.LogErrors) > 0
			more, err = u.MeasureUntagged(ctx, kept, func(err error) {
				damaged = true
				e.warn(err.Error())
			})
		}
	}
	stop()
	if err != nil {
		return err
	}
	return partly(e.printStats(measured, &of, more), damaged)
}

// toMeasure returns what refs mean, or all tags. It names on stderr the tags that cannot be read.
func (e *env) toMeasure(ctx context.Context, st *store.Store, refs []string) (roots []tree.Root, damaged bool, err error) {
	if len(refs) > 0 {
		roots, err = rootsOf(ctx, st, refs)
		return roots, false, err
	}
	if err := needTags(ctx, st); err != nil {
		return nil, false, err
	}
	tags, damaged, err := e.tagsOf(ctx, st)
	for _, t := range tags {
		roots = append(roots, tree.Root{Name: t.Name, Node: t.Root})
	}
	return roots, damaged, err
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
	*tree.Untagged
}

func (jsonTotal) lineType() string { return "summary" }

// jsonSize is the number of different files that have fewer than Below bytes, and are not in an earlier class.
type jsonSize struct {
	Below uint64 `json:"below" help:"bytes; 0 means no limit"`
	Files uint64 `json:"files"`
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// printStats prints what the roots hold, each by itself and together. more is what has no tag, or nil if the roots are not
// all tags.
func (e *env) printStats(roots []tree.Measured, u *tree.Unique, more *tree.Untagged) error {
	owners, header := more != nil, "ROOT\tFILES\tDIRECTORIES\tSYMLINKS\tLOGICAL"
	if owners {
		header = "TAG" + strings.TrimPrefix(header, "ROOT") + "\tALONE"
	}
	w := e.newRows(header)
	var total store.Counts
	for _, m := range roots {
		total = tree.AddCounts(total, m.Counts)
		root, err := newJSONRoot(m.Node)
		if err != nil {
			return err
		}
		j, cells := jsonMeasured{jsonRoot: root, Counts: m.Counts}, countCells(m.Name, m.Counts)
		j.Ref, j.RefBase64 = store.JSONName(m.Name)
		j.Name, j.NameBase64 = j.Ref, j.RefBase64
		switch {
		case owners && more.Log != nil:
			j.Tag, j.Alone, cells = m.Name, &m.Alone, append(cells, store.HumanBytes(m.Alone))
		case owners:
			j.Tag, cells = m.Name, append(cells, "-")
		}
		w.row(j, cells...)
	}
	j := jsonTotal{true, total, u.Files, u.Directories, u.Chunks, u.Bytes, u.Stored, u.StoredDirs,
		ratio(total.Bytes, u.Bytes), ratio(u.Bytes, u.Stored), nil, more}
	for i, files := range u.Sizes {
		j.Sizes = append(j.Sizes, jsonSize{tree.SizeLimit(i), files})
	}
	w.row(j, countCells("all", total)...)
	if err := w.Flush(); err != nil || e.json {
		return err
	}
	e.printTotal(&j, u, more)
	return nil
}

// countCells returns what the table says of a root.
func countCells(name string, c store.Counts) []string {
	return []string{quote(name), fmt.Sprint(c.Files), fmt.Sprint(c.Directories), fmt.Sprint(c.Symlinks), store.HumanBytes(c.Bytes)}
}

// printTotal says below the table what all roots take, and what has no tag, if there is anything.
func (e *env) printTotal(j *jsonTotal, u *tree.Unique, more *tree.Untagged) {
	stored := "unknown"
	if u.Stored+u.StoredDirs > 0 {
		stored = fmt.Sprintf("%s of files, compressed %.2f to 1, and %s of directories",
			store.HumanBytes(u.Stored), j.CompressionRatio, store.HumanBytes(u.StoredDirs))
	}
	fmt.Fprintf(e.stdout, "\nunique  %s in %s, deduplicated %.2f to 1, and %s\nstored  %s\n", store.HumanBytes(u.Bytes),
		plural(u.Files, "file"), j.DedupRatio, plural(u.Directories, "directory"), stored)
	if more != nil && more.Log != nil && *more.Log > 0 {
		fmt.Fprintf(e.stdout, "log     %s more, for %s without a tag and for listings\n", store.HumanBytes(*more.Log), plural(more.Roots, "root"))
	} else if more != nil && more.Log == nil && more.Roots > 0 {
		fmt.Fprintf(e.stdout, "log     %s without a tag\n", plural(more.Roots, "root"))
	}
	if more != nil && more.Rest != nil && *more.Objects > 0 {
		fmt.Fprintf(e.stdout, "rest    %s in %s that nothing names\n", store.HumanBytes(*more.Rest), plural(*more.Objects, "object"))
	}
	if e.isTerminal() && u.Files > 0 {
		fmt.Fprintln(e.stdout)
		printHistogram(e.stdout, &u.Sizes)
	}
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
