package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
	"castar/store/tree/collect"
)

const gcHelp = `
Removes what neither a tag nor a line of 'castar log' reaches, and frees its space. So an ingest is kept until
'castar forget' removes its lines and no tag names its root. gc deletes packs that have nothing left, and rewrites
packs that are more than a quarter dead. --keep names further roots to keep. Trees may have any depth.

gc refuses to remove anything if something that a tag or the log keeps is missing, if a tag cannot be read, or if a
newer castar wrote a line of the log: see 'castar verify'. It also refuses if a line of the log is damaged, if there are
no tags and no lines, or if 'castar repair' could not restore all tags. In these three cases --all makes it go on.
Before you give --all, set again the tags that you need.

With -v, gc lists the roots that it drops, with their times and sources: those of ingests that were forgotten, and of
tags that were deleted, since the last gc. With -n -v, it lists those that it would drop.

Older versions of castar kept only what tags reach. If they removed an ingest, its line stayed. 'castar log' does not
show such a line, and no name leads to it. gc drops such lines; with -v it lists them, with their dates and sources.

gc works on a full disk: it first removes what it can without writing. If it needs more space, it keeps packs that are
partly dead, and the error says how much space it needs.

In a bucket (packed+s3: and others), gc locks nothing, and other processes may use the store. It also keeps everything
that was stored less than --grace ago. gc deletes a file in two runs: the first marks it, and one at least --grace later
deletes it. With the default, a gc on the next day frees the space. --grace must be longer than the longest ingest or
export takes.

Elsewhere gc locks the store. If another process uses the store, gc exits with status 11, unless --wait says how long to
wait. Ingests and exports that start during a gc wait for it. You may interrupt gc at any time. It never loses anything
that it should keep, and the next gc continues. With --dry-run, gc locks nothing.

With the store of a 'castar serve --allow-delete', the gc runs there. --wait says how long the server waits for clients
that are storing something.

Examples:
  castar forget --keep-daily 7 --keep-weekly 4 && castar gc
  castar tag -d old && castar gc     # if the log does not keep it
  castar gc -n                       # what would be freed
  castar gc --keep 4fc3b6c1          # keep another root
  castar gc --wait 1h                # let a long ingest finish first`

// gcFlags is what was typed after castar gc.
type gcFlags struct {
	keep   []string
	all    bool
	dryRun bool
	wait   time.Duration
	grace  time.Duration

	forgotten []store.Tag // lines of the log that do not count any more
}

func (e *env) gcCommand() *cli.Command {
	var f gcFlags
	return &cli.Command{
		Name:        "gc",
		Aliases:     []string{"prune"},
		Usage:       "remove what neither tags nor the log keep, and free its space",
		UsageText:   "castar gc [flags]",
		Description: withJSON(gcHelp, "there is one object", jsonGC{}),
		Flags: []cli.Flag{
			listFlag("keep", "", &f.keep, "also keep `ROOT`"),
			boolFlag("all", "", &f.all, "go on even if there is no tag and no log, if tags were lost, or if lines of the log cannot be read"),
			boolFlag("dry-run", "n", &f.dryRun, "remove nothing; print what would be freed"),
			waitFlag(&f.wait),
			graceFlag(&f.grace),
		},
		Action: func(c *cli.Context) error { return e.gc(c.Context, &f) },
	}
}

// gc removes what the tags, the log and --keep do not reach.
func (e *env) gc(ctx context.Context, f *gcFlags) error {
	st, err := e.openToForget(ctx, f.wait, f.dryRun)
	if err != nil {
		return err
	}
	defer st.Close()
	return e.gcOpen(ctx, f, st)
}

// graceFlag is how long a gc leaves files in a bucket.
func graceFlag(grace *time.Duration) cli.Flag {
	return durationFlag("grace", grace, shortDuration(gcGrace), "in a bucket, delete only what an earlier gc marked at least `DURATION` ago, and keep what was stored since")
}

// gcGrace is longer than anybody reads or stores without a look at what others have done.
const gcGrace = 24 * time.Hour

// openToForget opens a store to remove something: exclusively, unless it is a dry run.
func (e *env) openToForget(ctx context.Context, wait time.Duration, dryRun bool) (*store.Store, error) {
	if dryRun {
		return e.open(ctx, "", config.Options{Wait: wait, ReadOnly: true})
	}
	return e.openAlone(ctx, config.Options{Wait: wait})
}

// gcOpen is gc in a store that is open exclusively, or at a server.
func (e *env) gcOpen(ctx context.Context, f *gcFlags, st *store.Store) error {
	began := time.Now()
	also, err := rootsOf(ctx, st, f.keep)
	if err != nil {
		return err
	}
	o := store.CollectOptions{DryRun: f.dryRun, All: f.all, Wait: f.wait, Grace: f.grace, Progress: new(store.Progress),
		Warn: func(err error) { e.warn(err.Error()) }}
	if f.dryRun {
		o.Forgot = f.forgotten // they are still there
	}
	for _, r := range also {
		o.Keep = append(o.Keep, r.Node)
	}
	stop := e.startProgress(func() sample {
		return sample{files: o.Progress.Objects.Load(), bytes: o.Progress.Bytes.Load(), unit: "objects moved"}
	})
	defer stop()
	var result store.CollectResult
	if st.Collector != nil {
		result, err = st.Collector.Collect(ctx, o)
	} else {
		result, err = collect.Run(ctx, st, collect.Options{CollectOptions: o, Gone: e.noteGone,
			Again: func() { e.note("another process has changed the store: starting over") }})
	}
	stop()
	if refused, ok := errors.AsType[*collect.RefusedError](err); ok {
		return hinted(err, refused.Hint)
	}
	if errors.Is(err, store.ErrNothingKept) {
		return hinted(err, "'castar tag NAME ROOT' keeps a root; --all removes everything")
	}
	if err != nil {
		return err
	}
	return partly(e.printGC(result, f.dryRun, time.Since(began)), result.Damaged)
}

// noteGone lists with --verbose a line of the log whose root an older castar has removed.
func (e *env) noteGone(t store.Tag) {
	if e.verbose {
		e.note(fmt.Sprintf("removed by an older castar: %s of %s, %s", tree.ShortName(t),
			t.Time.Local().Format(time.DateTime), quote(t.Source)))
	}
}

// jsonGC is what castar gc --json prints.
type jsonGC struct {
	Tags int `json:"tags" help:"whose roots were kept"`
	store.SweepResult
	Seconds float64 `json:"seconds"`
	DryRun  bool    `json:"dry_run" help:"then the numbers are estimates"`
	Ingests int     `json:"ingests" help:"lines of the log whose roots were kept"`

	Dropped []jsonRecord `json:"dropped" help:"roots of ingests that were forgotten and tags that were deleted, as in castar log"` // never null
}

func (jsonGC) lineType() string { return "summary" }

func (e *env) printGC(r store.CollectResult, dryRun bool, took time.Duration) error {
	freed, keeps, drops := "freed", "kept", "dropped"
	if dryRun {
		freed, keeps, drops = "would free about", "would keep", "would drop"
	}
	j := jsonGC{r.Tags, r.SweepResult, took.Seconds(), dryRun, r.Ingests, []jsonRecord{}}
	for _, t := range r.Dropped {
		record, err := newJSONRecord(t, 0)
		if err != nil {
			return err
		}
		j.Dropped = append(j.Dropped, record)
		if e.verbose {
			e.note(fmt.Sprintf("%s %s of %s, tag %s, source %s", drops, tree.ShortName(t), t.Time.Local().Format(time.DateTime),
				orDash(t.Name), orDash(t.Source)))
		}
	}
	e.print(j, fmt.Sprintf("%s %s: %s, %s; %s %s: %s", freed, store.HumanBytes(r.FreedBytes),
		plural(r.FreedObjects, "object"), plural(r.FreedPacks, "pack"), keeps, store.HumanBytes(r.KeptBytes), plural(r.KeptObjects, "object")))
	return nil
}
