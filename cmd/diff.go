package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const diffHelp = `
Says what changed from A to B. Each is a ROOT, or something inside one, or a path outside the store: what begins with /,
./ or ../, or is . or .., is a path, and so is what is no root and exists. A path is read as 'castar ingest' would; what
cannot be stored is left out and named on stderr, and the exit status is 3. With PATHs, only what is at or below one of
these inside A and B is compared.

A file is not opened if 'castar ingest' would not read it again, either: if its path, size, times and inode number are
those of the last time, on a file system that keeps them reliably. 'castar ingest --help' says which these are, and what
--trust-cache and --no-cache change.

What --exclude, --exclude-from, --gitignore and --exclude-caches leave out is left out on both sides: of what is stored,
too, as 'castar ingest' with these flags would have done. Patterns are relative to A and to B.

Each line has a letter and a path:
  +  added
  -  removed
  M  a file has other contents, whatever else changed
  X  a file may be run now, or may no longer
  T  a file, directory or symbolic link became another of these
  L  a symbolic link points elsewhere
  R  renamed: A has it at the first path, and B has the same at the second
The path of what is or was a directory ends in a slash, and by the bytes of these paths lines are sorted. A directory
that was added, removed or renamed is one line. Empty files and directories are not taken to be renamed.

What is the same on both sides is not read, however large. Trees that differ only in the rule by which their directories
count sizes are the same. Finding renames needs all that was added and removed in memory; --no-renames does not. Where
that is more than some hundred thousand entries, renames among them are shown as removed and added. A tree with more
than 8192 directories below each other is an error.

With -z, lines end in NUL, and a NUL stands also between the two paths of R. On a terminal, what was added is green and
what was removed is red, unless NO_COLOR is set.

With --patch, what changed in text files is shown line by line, as git does. Files with a NUL byte near their beginning
and those larger than 16 MiB are only named, and directories that are empty are not. git apply refuses the whole patch
for a file that is only named, unless it is given --exclude=FILE. On a terminal, what could control it is shown, as ^[
or \u202e; elsewhere the bytes of the files are as they are.

With --json, one object for each change: op, path, from (of R), old, new; old and new, where there is one, have kind,
size, executable, digest, target. With --stat, one object: added, removed, changed, renamed (numbers of entries),
bytes_added, bytes_removed, bytes_changed_old, bytes_changed_new, entries_old, entries_new, share. A number that is
18446744073709551615 is that or more. A path or target that is not UTF-8 is also there in base64, as path_base64,
from_base64 or target_base64.

Examples:
  castar diff v1 v2
  castar diff v1 .                                  # what changed here since
  castar diff --stat v1:src v2:src
  castar diff -p v1 v2 | git apply                  # here
  castar diff --exit-code src ./src > /dev/null || echo changed`

// diffFlags is what was typed after castar diff.
type diffFlags struct {
	stat, nameOnly, patch, null, exitCode bool
	options                               tree.DiffOptions
	live                                  ingestFlags // how paths outside the store are read
}

func (e *env) diffCommand() *cli.Command {
	var f diffFlags
	return &cli.Command{
		Name:        "diff",
		Usage:       "say what changed between two trees",
		UsageText:   "castar diff [flags] A B [PATH...]",
		Description: diffHelp,
		Flags: append([]cli.Flag{
			boolFlag("recursive", "r", &f.options.Recursive, "list what is below added and removed directories, too"),
			boolFlag("no-renames", "R", &f.options.NoRenames, "show what was renamed as removed and added"),
			boolFlag("stat", "", &f.stat, "print only how much changed"),
			boolFlag("name-only", "", &f.nameOnly, "print only the paths, of R the second"),
			boolFlag("patch", "p", &f.patch, "print what changed in text files, for git apply"),
			nullFlag(&f.null),
			boolFlag("exit-code", "", &f.exitCode, "exit with status 1 if something changed"),
			jobsFlag(&f.live.jobs),
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
	forms := 0
	for _, set := range []bool{f.stat, f.nameOnly, f.patch} {
		if set {
			forms++
		}
	}
	switch {
	case args < 2:
		return usagef("diff", "want an A and a B, got %d arguments", args)
	case forms > 1:
		return usagef("diff", "--stat, --name-only and --patch exclude each other")
	case f.null && (f.stat || f.patch || e.json):
		return usagef("diff", "--null is not for --stat, --patch or --json")
	case e.json && (f.nameOnly || f.patch):
		return usagef("diff", "--json is not for --name-only or --patch")
	case f.live.noCache && f.live.options.TrustCache:
		return usagef("diff", "--no-cache and --trust-cache exclude each other")
	}
	if err := checkJobs("diff", f.live.jobs); err != nil {
		return err
	}
	f.options.Recursive = f.options.Recursive || f.stat || f.patch
	f.live.options.Jobs = f.live.jobs
	// What cannot be read shows as removed, and is named.
	f.live.options.SkipSpecial, f.live.options.IgnoreErrors = true, true
	return nil
}

// diff prints what changed between what args mean.
func (e *env) diff(ctx context.Context, f *diffFlags, args [2]string) error {
	st, err := e.openStore(ctx, forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	sides, leftOut, err := e.diffSides(ctx, f, st, args)
	if err != nil {
		return err
	}
	if err := checkPaths(ctx, sides, f.options.Paths); err != nil {
		return err
	}
	f.options.TooMany = func() {
		e.note("diff", "more was added and removed than can be searched for renames, and is shown as that")
	}
	p := e.newDiffPrinter(f, sides)
	if err := e.printDiff(ctx, p); err != nil {
		return err
	}
	switch {
	case leftOut:
		return errPartial
	case f.exitCode && p.differs:
		return errDiffers
	}
	return nil
}

// printDiff prints what changed, in the form that was asked for.
func (e *env) printDiff(ctx context.Context, p *diffPrinter) error {
	if p.f.stat {
		return p.count(ctx)
	}
	for c, err := range tree.Diff(ctx, p.sides[0].Side, p.sides[1].Side, p.f.options) {
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

// checkPaths reports the paths that neither side has: a slip of the pen must not pass for no change.
func checkPaths(ctx context.Context, sides [2]*diffSide, paths []string) error {
	for _, path := range paths {
		_, err := sides[0].lookup(ctx, path)
		if err != nil {
			_, err = sides[1].lookup(ctx, path)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrNotFound):
			return &failure{err: fmt.Errorf("%s: neither in %s nor in %s", quote(path), quote(sides[0].arg), quote(sides[1].arg)),
				status: statusNotFound}
		case err != nil:
			return err
		}
	}
	return nil
}
