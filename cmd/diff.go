package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/urfave/cli/v2"

	"castar/ingest"
	"castar/ingest/sides"
	"castar/store"
	"castar/store/tree"
)

const diffHelp = `
Lists what changed from A to B. Each is a ROOT, something inside one, or a path outside the store. An argument is a path
if it begins with /, ./ or ../, if it is . or .., or if it exists and is not a root. diff reads a path as 'castar
ingest' would. It leaves out what cannot be stored and names it on stderr; the exit status is then 3. With PATHs, diff
compares only what is at or below one of them inside A and B.

diff opens a file only if 'castar ingest' would read it again. 'castar ingest --help' says when that is, and what
--trust-cache and --no-cache change.

--exclude, --iexclude, --exclude-from, --gitignore and --exclude-caches apply to both sides: from a stored tree they
take what 'castar ingest' would have left out. --exclude-if-present and --exclude-larger-than apply only to a path
outside the store. Patterns are relative to A and to B.

Each line has a letter and a path:
  +  added
  -  removed
  M  a file has other contents; anything else may have changed too
  X  a file became executable, or is no longer executable
  T  a file, directory or symbolic link became another of these
  L  a symbolic link points elsewhere
  R  renamed: A has it at the first path, and B has the same at the second
With --metadata, an entry that is on both sides may have one of these letters:
  p  the permission bits, or the setuid, setgid or sticky bit, differ
  t  the modification time differs
  o  the owner or the group differs, by number or by name
The path of a directory, or of what was one, ends in a slash. Lines are sorted by path, bytewise, slash included. A
directory that was added, removed or renamed is one line. Empty files and directories never count as renamed.

diff does not read what is the same on both sides, however large it is. Trees that differ only in the rule by which
directories count their size are the same. To find renames, diff keeps in memory everything that was added or removed;
--no-renames avoids that. If it is more than some hundred thousand entries, renames among them are shown as removed and
added. A tree with more than 8192 directories inside each other is an error.

--stat counts entries, and bytes in files. A count stops at 18446744073709551615, which means that many or more.

With -z, lines end in NUL, and a NUL also separates the two paths of R. On a terminal, additions are green and
removals are red, unless NO_COLOR is set.

With --patch, diff shows changes in text files line by line, as git does. It does not show empty directories. It only
names files that have a NUL byte near their beginning or are larger than 16 MiB. git apply refuses a patch with such a
file, unless --exclude=FILE skips that file. On a terminal, control characters are shown as ^[ or \u202e; elsewhere
the bytes of files are unchanged.

Examples:
  castar diff v1 v2
  castar diff v1 .                                  # what changed here since v1
  castar diff --metadata home~1 home
  castar diff --stat v1:src v2:src
  castar diff -p v1 v2 | git apply
  castar diff --exit-code src ./src > /dev/null || echo changed`

// diffFlags is what was typed after castar diff.
type diffFlags struct {
	stat, nameOnly, patch, null, exitCode bool
	metadata                              bool
	options                               tree.DiffOptions
	live                                  ingestFlags // how paths outside the store are read
}

func (e *env) diffCommand() *cli.Command {
	var f diffFlags
	return &cli.Command{
		Name:        "diff",
		Usage:       "say what changed between two trees",
		UsageText:   "castar diff [flags] A B [PATH...]",
		Description: withJSON(diffHelp, "there is an object for each change", jsonDiff{}, "With --stat, there is one object", jsonDiffStat{}),
		Flags: append([]cli.Flag{
			boolFlag("recursive", "r", &f.options.Recursive, "also list what is below added and removed directories"),
			boolFlag("no-renames", "R", &f.options.NoRenames, "show renames as removed and added"),
			boolFlag("stat", "", &f.stat, "print only how much changed"),
			boolFlag("name-only", "", &f.nameOnly, "print only paths; of R, the second"),
			boolFlag("patch", "p", &f.patch, "print changes in text files, for git apply"),
			boolFlag("metadata", "", &f.metadata, "also compare modes, times and owners; both must have a listing"),
			nullFlag(&f.null),
			boolFlag("exit-code", "", &f.exitCode, "exit with status 1 if something changed; 1 also means that diff failed"),
			jobsFlag(&f.live.options.Jobs, ingestJobs),
		}, f.live.sourceFlags()...),
		Action: func(c *cli.Context) error {
			if err := f.check(e, c.NArg()); err != nil {
				return err
			}
			if err := e.readExcludes(&f.live); err != nil {
				return err
			}
			f.options.Paths = c.Args().Slice()[2:]
			return e.diff(c.Context, &f, [2]string{c.Args().Get(0), c.Args().Get(1)})
		},
	}
}

// check finds mistakes before anything is done, and completes the options.
func (f *diffFlags) check(e *env, args int) error {
	switch {
	case args < 2:
		return usagef("want an A and a B, got %s", plural(uint64(args), "argument"))
	case count(f.stat, f.nameOnly, f.patch) > 1:
		return usagef("--stat, --name-only and --patch exclude each other")
	case f.metadata && (f.stat || f.nameOnly || f.patch):
		return usagef("--metadata does not work with --stat, --name-only or --patch")
	case f.null && (f.stat || f.patch || e.json):
		return usagef("--null does not work with --stat, --patch or --json")
	case e.json && (f.nameOnly || f.patch):
		return usagef("--json does not work with --name-only or --patch")
	case f.live.noCache && f.live.options.TrustCache:
		return usagef("--no-cache and --trust-cache exclude each other")
	}
	f.options.Recursive = f.options.Recursive || f.stat || f.patch
	// What cannot be read is shown as removed, and named.
	f.live.options.SkipSpecial, f.live.options.IgnoreErrors = true, true
	return nil
}

func (e *env) diff(ctx context.Context, f *diffFlags, args [2]string) error {
	st, err := e.openStore(ctx, forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	both, err := e.findSides(ctx, st, args)
	if err != nil {
		return err
	}
	leftOut, err := e.hashSides(ctx, f, st, both)
	if err != nil {
		return err
	}
	if err := checkPaths(ctx, both, f.options.Paths); err != nil {
		return err
	}
	f.options.TooMany = func() {
		e.note("too much was added and removed to search for renames; they are shown as removed and added")
	}
	f.options.Many = func(side int) {
		if both[side].Path == "" {
			st.Expect(ctx, both[side].Root)
		}
	}
	p := e.newDiffPrinter(f, both)
	left := complaints{e: e}
	if f.metadata {
		p.facts, err = openFactsOfBoth(ctx, st, both, &left)
		defer p.facts[0].Close()
		defer p.facts[1].Close()
		if err != nil {
			return err
		}
		f.options.Both = p.compareFacts
	}
	if err := e.printDiff(ctx, p); err != nil {
		return err
	}
	if err := partly(left.end(), leftOut); err != nil {
		return err
	}
	if f.exitCode && p.differs {
		return errDiffers
	}
	return nil
}

func (e *env) findSides(ctx context.Context, st *store.Store, args [2]string) (both [2]*sides.Side, err error) {
	var errs [2]error
	var finding sync.WaitGroup // both at once, which saves a round trip
	for i, arg := range args {
		finding.Go(func() { both[i], errs[i] = sides.Find(ctx, st, arg) })
	}
	finding.Wait()
	for i, arg := range args {
		if errs[i] != nil {
			return both, explainRef(ctx, st, arg, errs[i])
		}
		if both[i].Path != "" {
			if err := checkSource(both[i].Path, "write the data to a file first, and name that file"); err != nil {
				return both, err
			}
		}
	}
	return both, nil
}

// hashSides reads the sides outside the store, and names on stderr what it leaves out. It leaves the same out of the
// stored sides.
func (e *env) hashSides(ctx context.Context, f *diffFlags, st *store.Store, both [2]*sides.Side) (leftOut bool, err error) {
	o := f.live.options
	if o.SizeRule, err = sides.SizeRule(ctx, both, o.SizeRule); err != nil {
		return false, err
	}
	for _, s := range both {
		if s.Path != "" {
			o.Excludes = e.excludeCache(o.Excludes, s.Path)
		}
	}
	for _, s := range both {
		if s.Path == "" {
			continue
		}
		problems, err := e.hash(ctx, st, s, o, !f.live.noCache)
		if err != nil {
			return false, err
		}
		for _, p := range problems {
			leftOut = true
			e.warn("left out: " + p.Error())
		}
	}
	return leftOut, sides.Filter(ctx, both, o, f.stat)
}

// hash reads a side outside the store, showing how far it is, and returns what it left out.
func (e *env) hash(ctx context.Context, st *store.Store, s *sides.Side, o ingest.Options, useCache bool) ([]ingest.Problem, error) {
	source, err := filepath.Abs(s.Path)
	if err != nil {
		return nil, err
	}
	if err := e.excludeStore(&o, s.Path); err != nil {
		return nil, err
	}
	if useCache {
		o.Cache = e.openCache(st, source)
		defer func() { e.saveCache(o.Cache) }()
	}
	o.Progress = new(ingest.Progress)
	defer e.startProgress(sampleIngest(o.Progress))()
	r, err := s.Hash(ctx, o)
	if left := (*ingest.LeftOutError)(nil); errors.As(err, &left) {
		return nil, refusal(left.Problems, []string{s.Path})
	}
	if err != nil {
		return nil, err
	}
	e.noteStores(s.Path, r.Stores)
	e.noteSockets(r.Sockets)
	return r.LeftOut, nil
}

func (e *env) printDiff(ctx context.Context, p *diffPrinter) error {
	if p.f.stat {
		return p.count(ctx)
	}
	changes := tree.Diff(ctx, p.sides[0].Side, p.sides[1].Side, p.f.options)
	for c, err := range changes {
		if err == nil {
			err = p.change(ctx, &c)
		}
		if err == nil {
			err = e.stdout.err
		}
		if err != nil {
			p.out.Flush()
			return err
		}
	}
	return p.out.Flush()
}

// checkPaths reports a path that neither side has: a typo must not look like no change.
func checkPaths(ctx context.Context, both [2]*sides.Side, paths []string) error {
	for _, path := range paths {
		_, err := both[0].Lookup(ctx, path)
		if err != nil {
			_, err = both[1].Lookup(ctx, path)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrNotFound):
			return &failure{err: fmt.Errorf("%s: neither in %s nor in %s", quote(path), quote(both[0].Arg), quote(both[1].Arg)),
				status: statusNotFound}
		case err != nil:
			return err
		}
	}
	return nil
}
