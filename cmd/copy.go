package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
	"castar/store/tree/advice"
)

const copyHelp = `
Copies each ROOT, with everything that it reaches, from the store of --from to the store of --to. If one of the two
flags is missing, copy uses the store that -s or CASTAR_STORE names, or the default store. It makes the destination if
there is none. It sends only what the destination lacks, and checks everything on the way. If it is interrupted, run it
again: what has arrived is kept.

Without a ROOT, every tag of the source is copied, and --tags is implied. With --tags, tags of the source that point
at a copied root are also set in the destination, once the root is there, whole and durable. A tag that points
elsewhere in the destination stays, and the exit status is 1, unless --overwrite is given.

A tag keeps what ingest recorded with it, also the listing of modes, owners and times, which is copied as a part of
the root. The log of the source is not copied.

A packed store on disk compresses small files and chunks together, in groups. A copy decodes and checks each group. The
group is copied in its compressed form if three things are true: the roots of this copy reach all of it, the destination
has nothing of it, and the destination is a folder or a castar server. Otherwise the destination gets what it lacks, and
compresses that anew.

If something in the source is missing or damaged, copy names it, copies the rest, and exits with status 3. Roots that
are not whole get no tag. The same is true of a directory that is more than 8192 levels deep, or that records wrong
sizes. If the destination already has a file and neither store knows its length, copy cannot check the length that the
directory records. It prints the number of such files on stderr.

With --size-rule, directories in the destination count their size by that rule: see 'castar ingest --help'. The
contents are the same, but directories that hold others get another digest. For each ROOT, copy prints the digest in
the source and the digest in the destination. Tags in the destination point at the latter.

Examples:
  castar copy src --tags --to /mnt/backup       # one tag
  castar copy --to /mnt/backup                  # all tags
  castar copy --from /mnt/backup 4fc3b6c1       # back, by digest
  castar copy -n --to /mnt/backup               # how much would be copied
  castar copy src --size-rule snix --to grpc+http://host:8000`

// copyFlags is what was typed after castar copy.
type copyFlags struct {
	from, to                string
	tags, overwrite, dryRun bool
	jobs                    int
	rule                    *store.SizeRule // that was given, or nil
}

func (e *env) copyCommand() *cli.Command {
	var f copyFlags
	return &cli.Command{
		Name:        "copy",
		Usage:       "copy trees from one store to another",
		UsageText:   "castar copy [flags] --to STORE [ROOT...]\n       castar copy [flags] --from STORE [ROOT...]",
		Description: withJSON(copyHelp, "there is an object for each ROOT", jsonCopiedRoot{}, "The last object is the sum", jsonCopied{}),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Destination: &f.from, Usage: "copy from `STORE`"},
			&cli.StringFlag{Name: "to", Destination: &f.to, Usage: "copy to `STORE`"},
			boolFlag("tags", "", &f.tags, "also copy the tags that point at the roots"),
			boolFlag("overwrite", "", &f.overwrite, "move tags in the destination that point elsewhere"),
			boolFlag("dry-run", "n", &f.dryRun, "copy nothing; print what would be copied"),
			ruleFlag(&f.rule, "as in the source", " in the destination"),
			rangeFlag("jobs", "j", &f.jobs, 0, maxJobs, "32", "copy `N` blobs at once"),
		},
		Action: func(c *cli.Context) error {
			switch {
			case f.from == "" && f.to == "":
				return usagef("want --to STORE, --from STORE, or both")
			case f.overwrite && !f.tags && c.Args().Present():
				return usagef("--overwrite works only with --tags")
			}
			return e.copy(c.Context, &f, c.Args().Slice())
		},
	}
}

// copy copies what refs mean, or all tags if there are none.
func (e *env) copy(ctx context.Context, f *copyFlags, refs []string) error {
	from, to, err := e.openFromAndTo(ctx, f)
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	f.tags = f.tags || len(refs) == 0
	if f.tags {
		if err := cmp.Or(needTags(ctx, from), needTags(ctx, to)); err != nil {
			return err
		}
	}
	roots, partial, err := e.copyRoots(ctx, f, from, refs)
	if err != nil {
		return err
	}
	counts := &tree.CopyCounts{}
	stop := e.startProgress(func() sample {
		return sample{files: counts.Blobs.Load(), bytes: counts.NewBytes.Load(), total: 0}
	})
	defer stop()
	began := time.Now()
	lacking, err := e.copyAll(ctx, f, from, to, roots, counts)
	if err != nil {
		return err
	}
	partial = partial || lacking
	if !f.dryRun {
		if err := to.Sync(ctx); err != nil {
			return err
		}
	}
	stop()
	elsewhere, err := e.finishRoots(ctx, f, to, roots)
	if err != nil {
		return err
	}
	e.printCopied(f, to, len(roots), counts, time.Since(began))
	if n := counts.Unchecked.Load(); n > 0 {
		e.note(plural(n, "file") + " that the destination already has: size not compared")
	}
	hint := "--overwrite moves such tags"
	if errors.Is(elsewhere, store.ErrNewer) || f.overwrite {
		hint = advice.OnError(elsewhere)
	}
	return partly(hinted(elsewhere, hint), partial)
}

// copyAll copies roots, and fills in what they are in the destination. lacking says that not all are whole there.
func (e *env) copyAll(
	ctx context.Context, f *copyFlags, from, to *store.Store, roots []tree.CopiedRoot, counts *tree.CopyCounts,
) (lacking bool, err error) {
	named := 0
	copier := tree.NewCopier(from, to, tree.CopyOptions{DryRun: f.dryRun, Jobs: f.jobs, SizeRule: f.rule, Progress: counts,
		Problem: func(path string, err error) {
			named++
			e.warn(path + ": " + err.Error())
		}})
	copier.ExpectTagged(ctx, roots)
	for i := range roots {
		before := named
		err := copier.CopyTagged(ctx, &roots[i])
		switch {
		case err == nil:
			continue
		case !errors.Is(err, tree.ErrIncomplete):
			return lacking, explainRefusal(err, f.rule)
		case named == before: // each blob is named once, in the first root that has it
			e.warn(roots[i].Name + ": is incomplete: something named above is missing")
		}
		lacking = true
	}
	return lacking, nil
}

// finishRoots sets as many tags of copied roots as it can, and prints the roots. elsewhere names the other tags.
func (e *env) finishRoots(ctx context.Context, f *copyFlags, to *store.Store, roots []tree.CopiedRoot) (elsewhere, err error) {
	var all []error
	for _, r := range roots {
		for _, t := range r.Tags {
			if !r.Whole || f.dryRun {
				break
			}
			conflict, err := tree.FollowTag(ctx, to, t, f.overwrite)
			if err != nil {
				return nil, err
			}
			all = append(all, conflict)
		}
		if err := e.printCopiedRoot(f, r); err != nil {
			return nil, err
		}
	}
	return errors.Join(all...), nil
}

func (e *env) openFromAndTo(ctx context.Context, f *copyFlags) (from, to *store.Store, err error) {
	if from, err = e.open(ctx, f.from, e.patient(forRead.options())); err != nil {
		return nil, nil, err
	}
	to, err = e.open(ctx, f.to, e.patient(config.Options{Create: !f.dryRun, ReadOnly: f.dryRun}))
	if f.dryRun && errors.Is(err, store.ErrNoStore) {
		to, err = config.Open(ctx, "memory:", config.Options{}) // as empty as a new store
	}
	if err == nil && (to.Blobs == nil || to.Directories == nil || from.Blobs == nil || from.Directories == nil) {
		err = errors.Join(store.ErrUnsupported, to.Close())
	}
	if err != nil {
		from.Close()
		return nil, nil, err
	}
	return from, to, nil
}

// copyRoots finds what to copy. It warns of tags that cannot be read; partial says that there are some.
func (e *env) copyRoots(
	ctx context.Context, f *copyFlags, from *store.Store, refs []string,
) (roots []tree.CopiedRoot, partial bool, err error) {
	var tags []store.Tag
	if f.tags {
		if tags, partial, err = e.tagsOf(ctx, from); err != nil {
			return nil, partial, err
		}
	}
	found, err := rootsOf(ctx, from, refs)
	if len(refs) > 0 {
		return tree.WithTags(found, tags), partial, err
	}
	for _, t := range tags {
		roots = append(roots, tree.CopiedRoot{Root: tree.Root{Name: t.Name, Node: t.Root}, Tags: []store.Tag{t}})
	}
	return roots, partial, err
}

// jsonCopiedRoot is a line of castar copy --json for each ROOT.
type jsonCopiedRoot struct {
	jsonRoot
	Ref       string   `json:"ref" help:"the ROOT as it was typed, or the tag"`
	RefBase64 string   `json:"ref_base64,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Complete  bool     `json:"complete" help:"whether the destination has everything that it reaches"`

	SizeRule string `json:"size_rule,omitempty" help:"with --size-rule"`
	NewRoot  string `json:"new_root,omitempty" help:"likewise, the digest in the destination"`
}

func (jsonCopiedRoot) lineType() string { return "root" }

func (e *env) printCopiedRoot(f *copyFlags, r tree.CopiedRoot) error {
	root, err := newJSONRoot(r.Node)
	if err != nil {
		return err
	}
	as, err := r.As.RootDigest()
	if err != nil {
		return err
	}
	j := jsonCopiedRoot{jsonRoot: root, Complete: r.Whole}
	j.Ref, j.RefBase64 = store.JSONName(r.Name)
	for _, t := range r.Tags {
		j.Tags = append(j.Tags, t.Name)
	}
	if f.rule != nil {
		j.SizeRule = f.rule.String()
		if r.Whole {
			j.NewRoot = as.String()
		}
	}
	if e.json || j.NewRoot != "" {
		e.print(j, j.Root+" "+j.NewRoot)
	}
	return nil
}

// jsonCopied is the last line of castar copy --json.
type jsonCopied struct {
	Roots          int     `json:"roots"`
	Directories    uint64  `json:"directories"`
	Blobs          uint64  `json:"blobs"`
	Bytes          uint64  `json:"bytes" help:"of the blobs, each counted once"`
	NewDirectories uint64  `json:"new_directories" help:"those that were missing and were copied"`
	NewBlobs       uint64  `json:"new_blobs"`
	NewBytes       uint64  `json:"new_bytes"`
	Seconds        float64 `json:"seconds"`
	DryRun         bool    `json:"dry_run"`
	UncheckedSizes uint64  `json:"unchecked_sizes" help:"files whose length neither store knew"`
	StoredBytes    *uint64 `json:"stored_bytes,omitempty" help:"what was written for what was missing"`
}

func (jsonCopied) lineType() string { return "summary" }

func (e *env) printCopied(f *copyFlags, to *store.Store, roots int, c *tree.CopyCounts, took time.Duration) {
	j := jsonCopied{roots, c.Directories.Load(), c.Blobs.Load(), c.Bytes.Load(), c.NewDirectories.Load(), c.NewBlobs.Load(),
		c.NewBytes.Load(), took.Seconds(), f.dryRun, c.Unchecked.Load(), nil}
	sum := added(to)
	if sum != nil && !f.dryRun {
		j.StoredBytes = &sum.stored
		if j.NewBlobs > 0 {
			e.note(fmt.Sprintf("new %s files, unchanged %s%s in %.1f s", thousands(j.NewBlobs), thousands(j.Blobs-j.NewBlobs),
				sum.text(), took.Seconds()))
		}
	}
	verb := "copied"
	if f.dryRun {
		verb = "would copy"
	}
	e.print(j, fmt.Sprintf("%s %s in %s: %d of %s, %d of %s", verb, store.HumanBytes(j.NewBytes), plural(uint64(roots), "root"),
		j.NewBlobs, plural(j.Blobs, "blob"), j.NewDirectories, plural(j.Directories, "directory")))
}
