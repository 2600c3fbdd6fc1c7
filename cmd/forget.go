package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/history"
	"castar/store/tree"
)

const forgetHelp = `
Removes lines of 'castar log', and with them what keeps their roots. 'castar gc' then frees the space of what no other
line and no tag reaches; --gc does so at once.

With ROOTs, forget removes these lines. A ROOT is a tag, for all lines with that tag; @N, TAG~N or TAG@DATE, for that
line; or a digest or its beginning, for all lines with that root.

Without a ROOT, forget looks at all lines, or with --tag, --host and --source at those that have one of the values of
each flag that is given. The --keep flags say what to keep, with the rules of restic. forget splits the lines into
groups of the same host, source and tag, or as --group-by says, and looks at each group by itself. It keeps a line if
any flag keeps it:

  --keep-last N       the newest N lines
  --keep-daily N      the newest line of each of the last N days that have one; hourly, weekly, monthly and yearly
                      likewise. Weeks begin on Monday. While there are fewer than N, the oldest line is kept, too
  --keep-within SPAN  lines of the time SPAN before the newest line of the group that is not in the future. A SPAN is
                      such as 30d or 1y6m

A SPAN has years (y), months (m), weeks (w), days (d) and hours (h).
N may be "unlimited". Hours, days, weeks, months and years are those of the zone in which a line was recorded.

What a tag points at is never forgotten: of the lines with the root of a tag, the newest stays, and of those with the
tag's name if there are any. Lines that cannot be read stay as well.

forget locks the store. If another process uses the store, forget exits with status 11, unless --wait says how long to
wait. With --dry-run, forget locks nothing. A 'castar serve --allow-delete' locks its store for a client; forget then
waits for clients that are storing something.

Examples:
  castar forget -n --keep-daily 7 --keep-weekly 4    # what stays, and why
  castar forget --keep-daily 7 --keep-weekly 4 --gc
  castar forget --tag home --keep-within 1y
  castar forget @12 home~3`

// forgetFlags is what was typed after castar forget.
type forgetFlags struct {
	policy               history.Policy
	groupBy              history.Keys
	tags, hosts, sources []string
	dryRun, gc           bool
	wait                 time.Duration
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
			newFlag("keep-within", "", &f.policy.Within, "", "keep lines of the last `SPAN`, such as 30d",
				"a span such as 30d or 1y6m", history.ParseSpan),
			groupFlag(&f.groupBy),
			listFlag("tag", "t", &f.tags, "look only at lines with the tag `NAME`"),
			listFlag("host", "", &f.hosts, "look only at lines of the machine `NAME`"),
			listFlag("source", "", &f.sources, "look only at lines whose source is `PATH`"),
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
	return newFlag("group-by", "", to, "host,source,tag", "look at each group of the same `FIELDS` by itself: some of host, source and tag",
		"host, source and tag, with commas between them, or some of them", func(value string) (history.Keys, error) {
			return history.ParseKeys(strings.Split(value, ","))
		})
}

// check finds mistakes before anything is touched.
func (f *forgetFlags) check(refs []string) error {
	filters := len(f.tags)+len(f.hosts)+len(f.sources) > 0
	switch {
	case len(refs) > 0 && (filters || !f.policy.Empty()):
		return usagef("a ROOT and --keep, --tag, --host and --source flags exclude each other")
	case len(refs) == 0 && f.policy.Empty():
		return usagef("want a ROOT, or a --keep flag that keeps something: nothing else says what to forget")
	}
	for _, source := range slices.Clone(f.sources) { // a line has the absolute path, or what was no path, such as -
		if abs, err := filepath.Abs(source); err == nil {
			f.sources = append(f.sources, abs)
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
	for _, err := range kept.LogErrors {
		if store.IsServerError(err) {
			return err
		}
		e.warn(err.Error())
	}
	lines := newForgetting(kept)
	if len(refs) > 0 {
		err = lines.byName(refs)
	} else {
		lines.byPolicy(f)
	}
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	forgotten := lines.forgotten()
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

// forgetLines removes lines of the log. A server locks its store for that; if others use it, forgetLines tries for as long as
// wait.
func forgetLines(ctx context.Context, st *store.Store, lines []store.Tag, wait time.Duration) error {
	const pause = time.Second
	for began := time.Now(); ; {
		err := st.Tags.Forget(ctx, lines)
		if st.RemoteTags == nil || !errors.Is(err, store.ErrLocked) || time.Since(began) >= wait {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *env) printForgotten(f *forgetFlags, lines *forgetting, n int) error {
	w := newTable(e.stdout)
	for i, d := range lines.decisions {
		j := jsonDecision{Keep: d.Keep, Reasons: append([]string{}, d.Reasons...)}
		var err error
		if j.jsonRecord, err = newJSONRecord(d.Ingest, lines.number[i]); err != nil {
			return err
		}
		if e.json {
			e.stdout.json(j)
			continue
		}
		verb := "forget"
		if d.Keep {
			verb = "keep"
		}
		t := d.Ingest
		fmt.Fprintf(w, "%s\t@%d\t%s\t%s\t%s\t%s\t%s\n", verb, j.Number, t.Time.Local().Format(time.DateTime), j.Root[:shortDigits],
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
	e.print(jsonForgotten{n, len(lines.decisions) - n, f.dryRun},
		fmt.Sprintf("%s %d of %s%s", verb, n, plural(uint64(len(lines.decisions)), "ingest"), hint))
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

// forgetting is which lines of the log to forget.
type forgetting struct {
	ingests   []store.Tag      // all lines, oldest first
	tags      map[int][]string // of each line, by its place, the tags that point at it
	decisions []history.Decision
	number    []int // of the line that each decision is about; the newest is 1
}

// newForgetting finds for each tag the line that it points at: the newest with its root and name, or else with its root.
func newForgetting(kept tree.Kept) *forgetting {
	f := &forgetting{ingests: kept.Ingests, tags: make(map[int][]string)}
	for _, t := range kept.Tags {
		at := -1
		for i, line := range f.ingests {
			if sameRoot(line.Root, t.Root) && (line.Name == t.Name || at < 0 || f.ingests[at].Name != t.Name) {
				at = i
			}
		}
		if at >= 0 {
			f.tags[at] = append(f.tags[at], "tag "+t.Name)
		}
	}
	return f
}

// decide adds a decision about the line at a place.
func (f *forgetting) decide(at int, keep bool, reasons []string) {
	if tags := f.tags[at]; len(tags) > 0 {
		keep, reasons = true, append(slices.Clone(reasons), tags...)
	}
	f.decisions = append(f.decisions, history.Decision{Ingest: f.ingests[at], Keep: keep, Reasons: reasons})
	f.number = append(f.number, len(f.ingests)-at)
}

func (f *forgetting) forgotten() (lines []store.Tag) {
	for _, d := range f.decisions {
		if !d.Keep {
			lines = append(lines, d.Ingest)
		}
	}
	return lines
}

// byPolicy decides about the lines that the flags are about.
func (f *forgetting) byPolicy(o *forgetFlags) {
	has := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	var asked []store.Tag
	places := make(map[store.Tag][]int) // equal lines one after the other
	for i, t := range f.ingests {
		if has(o.tags, t.Name) && has(o.hosts, t.Host) && has(o.sources, t.Source) {
			asked = append(asked, t)
			places[t] = append(places[t], i)
		}
	}
	for _, g := range history.GroupBy(asked, o.groupBy) {
		for _, d := range o.policy.Apply(g.Ingests, time.Now()) {
			of := places[d.Ingest]
			last := len(of) - 1 // decisions are newest first
			places[d.Ingest] = of[:last]
			f.decide(of[last], d.Keep, d.Reasons)
		}
	}
}

// byName decides to forget the lines that refs name. It is an error if one names no line, or one that has to stay.
func (f *forgetting) byName(refs []string) error {
	chosen := make(map[int]bool)
	for _, ref := range refs {
		places, isTag, err := f.find(ref)
		if err != nil {
			return err
		}
		for _, at := range places {
			if tags := f.tags[at]; len(tags) > 0 && !isTag {
				return &failure{err: fmt.Errorf("nothing was forgotten: %s: the %s points at it", quote(ref), quote(tags[0])), status: statusFailed,
					hint: "'castar tag -d' deletes a tag"}
			}
			chosen[at] = true
		}
	}
	for at := len(f.ingests) - 1; at >= 0; at-- {
		if chosen[at] {
			f.decide(at, false, nil)
		}
	}
	return nil
}

// find returns the places of the lines that ref names. isTag says that it is a tag, of which all lines are meant.
func (f *forgetting) find(ref string) (places []int, isTag bool, err error) {
	all := func(matches func(t store.Tag) bool) (places []int) {
		for i, t := range f.ingests {
			if matches(t) {
				places = append(places, i)
			}
		}
		return places
	}
	if places = all(func(t store.Tag) bool { return t.Name == ref && ref != "" }); len(places) > 0 {
		return places, true, nil
	}
	if n, ok := history.ParseName(ref); ok {
		line, err := n.Find(f.ingests)
		if err != nil {
			return nil, false, hintAtRoots(fmt.Errorf("%s: %w", quote(ref), err))
		}
		return all(func(t store.Tag) bool { return t == line }), false, nil
	}
	prefix := strings.ToLower(ref)
	if d, err := store.ParseDigest(ref); err == nil {
		prefix = d.String()
	}
	if store.IsDigestPrefix(prefix) {
		places = all(func(t store.Tag) bool {
			d, err := t.Root.RootDigest()
			return err == nil && strings.HasPrefix(d.String(), prefix)
		})
	}
	switch {
	case len(places) == 0:
		return nil, false, hintAtRoots(fmt.Errorf("no ingest in the log has the tag or root %s: %w", quote(ref), store.ErrNotFound))
	case slices.ContainsFunc(places, func(at int) bool { return !sameRoot(f.ingests[at].Root, f.ingests[places[0]].Root) }):
		return nil, false, fmt.Errorf("%s: several roots begin like that", quote(ref))
	}
	return places, false, nil
}
