package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/history"
	"castar/store/retry"
	"castar/store/tree"
)

const forgetHelp = `
Removes lines of 'castar log', so that they no longer keep their roots. 'castar gc' then frees the space of everything
that no other line and no tag reaches. With --gc, forget does so itself.

With ROOTs, forget removes the lines that they name. A tag names all lines with that tag. @N, TAG~N or TAG@DATE names
one line. A digest, or its beginning, names all lines with that root.

Without a ROOT, forget looks at all lines. With --tag, --host or --source, it looks only at lines that match one value
of each flag given. The --keep flags say what to keep, with the rules of restic. forget splits the lines into groups of
the same host, source and tag, or as --group-by says, and looks at each group by itself. It keeps a line if any flag
keeps it:

  --keep-last N       the newest N lines
  --keep-daily N      the newest line of each of the last N days that have one; hourly, weekly, monthly and yearly
                      likewise. Weeks begin on Monday. If fewer than N days have a line, the oldest line is kept too
  --keep-within SPAN  lines less than SPAN older than the newest line of the group; lines in the future do not count as
                      newest. A SPAN is such as 30d or 1y6m

A SPAN has years (y), months (m), weeks (w), days (d) and hours (h).
N may be "unlimited". Hours, days, weeks, months and years are those of the zone in which a line was recorded.

forget never removes what a tag points at. For each tag, the newest line with the root and name of the tag stays, or, if
no line has that name, the newest line with that root. Lines that cannot be read stay too.

forget locks the store. If another process uses the store, forget exits with status 11, unless --wait says how long to
wait. With --dry-run, forget locks nothing. Over a server (castar serve --allow-delete), forget locks nothing itself:
the server locks the store, and forget waits for clients that are storing something.

Examples:
  castar forget -n --keep-daily 7 --keep-weekly 4    # what stays, and why
  castar forget --keep-daily 7 --keep-weekly 4 --gc
  castar forget --tag home --keep-within 1y
  castar forget @12 home~3`

// forgetFlags is what was typed after castar forget.
type forgetFlags struct {
	policy     history.Policy
	groupBy    history.Keys
	only       history.Filter
	dryRun, gc bool
	wait       time.Duration
}

func (e *env) forgetCommand() *cli.Command {
	f := forgetFlags{groupBy: history.Keys{Host: true, Source: true, Tag: true}}
	const newest = "keep `N` lines, the newest of each "
	return &cli.Command{
		Name:      "forget",
		Usage:     "remove lines of the log, by root, tag or policy",
		UsageText: "castar forget [flags] [ROOT|TAG...]",
		Description: withJSON(forgetHelp, "there is an object for each line", jsonDecision{}, "The next object is the sum", jsonForgotten{},
			"With --gc there is one more", jsonGC{}),
		Flags: []cli.Flag{
			keepFlag("keep-last", &f.policy.Last, "keep the newest `N` lines"),
			keepFlag("keep-hourly", &f.policy.Hourly, newest+"hour"),
			keepFlag("keep-daily", &f.policy.Daily, newest+"day"),
			keepFlag("keep-weekly", &f.policy.Weekly, newest+"week"),
			keepFlag("keep-monthly", &f.policy.Monthly, newest+"month"),
			keepFlag("keep-yearly", &f.policy.Yearly, newest+"year"),
			newFlag("keep-within", "", &f.policy.Within, "", "keep lines less than `SPAN` older than the newest, such as 30d",
				"a span such as 30d or 1y6m", history.ParseSpan),
			groupFlag(&f.groupBy),
			listFlag("tag", "t", &f.only.Tags, "look only at lines with the tag `NAME`"),
			listFlag("host", "", &f.only.Hosts, "look only at lines of the machine `NAME`"),
			listFlag("source", "", &f.only.Sources, "look only at lines whose source is `PATH`"),
			boolFlag("dry-run", "n", &f.dryRun, "forget nothing; print what would be forgotten"),
			boolFlag("gc", "", &f.gc, "free the space at once, as 'castar gc' does"),
			waitFlag(&f.wait),
		},
		Action: func(c *cli.Context) error {
			if err := f.check(c.Args().Slice()); err != nil {
				return err
			}
			return e.forget(c.Context, &f, c.Args().Slice())
		},
	}
}

// keepFlag returns a flag for a count of a history.Policy.
func keepFlag(name string, to *int, usage string) cli.Flag {
	return newFlag(name, "", to, "", usage, "a whole number, or unlimited", func(value string) (int, error) {
		if value == "unlimited" {
			return history.Unlimited, nil
		}
		n, err := strconv.ParseUint(value, 10, 31)
		return int(n), err
	})
}

func groupFlag(to *history.Keys) cli.Flag {
	return newFlag("group-by", "", to, "host,source,tag", "apply the --keep flags to each group of lines with the same `FIELDS`, a list of host, source and tag",
		"host, source and tag, with commas between them, or some of them", func(value string) (history.Keys, error) {
			return history.ParseKeys(strings.Split(value, ","))
		})
}

// check finds mistakes before anything is touched.
func (f *forgetFlags) check(refs []string) error {
	filters := len(f.only.Tags)+len(f.only.Hosts)+len(f.only.Sources) > 0
	switch {
	case len(refs) > 0 && (filters || !f.policy.Empty()):
		return usagef("a ROOT and --keep, --tag, --host and --source flags exclude each other")
	case len(refs) == 0 && f.policy.Empty():
		return usagef("want a ROOT, or a --keep flag with more than 0")
	}
	for _, source := range slices.Clone(f.only.Sources) { // a line has the absolute path, or what was no path, such as -
		if abs, err := filepath.Abs(source); err == nil {
			f.only.Sources = append(f.only.Sources, abs)
		}
	}
	for _, ref := range refs {
		if strings.Contains(strings.TrimPrefix(ref, "b3:"), ":") {
			return usagef("%s: a line has a whole root, not a path inside it", quote(ref))
		}
	}
	return nil
}

// forget removes what refs name, or what the policy does not keep.
func (e *env) forget(ctx context.Context, f *forgetFlags, refs []string) error {
	st, err := e.openToForget(ctx, f.wait, f.dryRun)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := needTags(ctx, st); err != nil {
		return err
	}
	kept := tree.ReadKept(ctx, st)
	if err := errors.Join(kept.TagErrors...); err != nil { // it may point at any line
		return fmt.Errorf("nothing was forgotten: %w", err)
	}
	if err := e.warnUnread(kept.LogErrors); err != nil {
		return err
	}
	lines, err := f.decide(history.NewForgetting(kept.Ingests, kept.Tags), refs)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	var forgotten []store.Tag
	for _, d := range lines {
		if !d.Keep {
			forgotten = append(forgotten, d.Ingest)
		}
	}
	if !f.dryRun {
		if err := forgetLines(ctx, st, forgotten, f.wait); err != nil {
			return err
		}
	}
	if err := e.printForgotten(f, lines, len(forgotten)); err != nil {
		return err
	}
	if f.gc {
		gc := *e
		gc.command = "gc" // as its notes say
		err = gc.gcOpen(ctx, &gcFlags{dryRun: f.dryRun, wait: f.wait, forgotten: forgotten, grace: gcGrace}, st)
	}
	return partly(err, len(kept.LogErrors) > 0)
}

// decide decides about the lines that refs name, or else by the flags.
func (f *forgetFlags) decide(all *history.Forgetting, refs []string) ([]history.Decision, error) {
	if len(refs) == 0 {
		return all.ByPolicy(f.only, f.groupBy, f.policy, time.Now()), nil
	}
	lines, err := all.ByName(refs)
	if _, ok := errors.AsType[*history.TaggedError](err); ok {
		err = hinted(fmt.Errorf("nothing was forgotten: %w", err), "'castar tag -d' deletes a tag")
	}
	return lines, hintAtRoots(err)
}

// forgetLines removes lines of the log. A server locks its store for that; if others use it, forgetLines tries for as long as
// wait.
func forgetLines(ctx context.Context, st *store.Store, lines []store.Tag, wait time.Duration) error {
	began := time.Now()
	isLocked := func(err error) bool {
		return st.RemoteTags != nil && errors.Is(err, store.ErrLocked) && time.Since(began) < wait
	}
	again := retry.Policy{Tries: math.MaxInt, First: time.Second, Most: time.Second}
	return again.Do(ctx, isLocked, func(ctx context.Context) error { return st.Tags.Forget(ctx, lines) })
}

func (e *env) printForgotten(f *forgetFlags, lines []history.Decision, n int) error {
	w := e.newRows("")
	for _, d := range lines {
		j := jsonDecision{Keep: d.Keep, Reasons: append([]string{}, d.Reasons...)}
		var err error
		if j.jsonRecord, err = newJSONRecord(d.Ingest, d.Number); err != nil {
			return err
		}
		verb := "forget"
		if d.Keep {
			verb = "keep"
		}
		t := d.Ingest
		w.row(j, verb, fmt.Sprint("@", j.Number), t.Time.Local().Format(time.DateTime), j.Root[:shortDigits],
			orDash(t.Name), orDash(t.Source), quoteAll(d.Reasons, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verb, hint := "forgot", ""
	if f.dryRun {
		verb = "would forget"
	} else if !f.gc && n > 0 {
		hint = "; 'castar gc' frees what nothing else needs"
	}
	e.print(jsonForgotten{n, len(lines) - n, f.dryRun},
		fmt.Sprintf("%s %d of %s%s", verb, n, plural(uint64(len(lines)), "ingest"), hint))
	return nil
}

// jsonDecision is what castar forget --json prints of each line of the log.
type jsonDecision struct {
	jsonRecord
	Keep    bool     `json:"keep"`
	Reasons []string `json:"reasons" help:"why it is kept, such as daily, oldest weekly or tag NAME"` // never null
}

func (jsonDecision) lineType() string { return "decision" }

// jsonForgotten is what castar forget --json prints of all lines.
type jsonForgotten struct {
	Forgotten int  `json:"forgotten"`
	Kept      int  `json:"kept" help:"of the lines that were looked at"`
	DryRun    bool `json:"dry_run"`
}

func (jsonForgotten) lineType() string { return "summary" }
