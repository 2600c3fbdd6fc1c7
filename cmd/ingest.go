package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"castar/ingest"
	"castar/store"
	"castar/store/config"
)

const ingestHelp = `
Stores each PATH - a directory with all that is in it, a file or a symbolic link, which is not followed - and prints
its root digest, one a line, once all of it is safe on disk. What the store has already is not stored again.

What is kept: names, as bytes; the contents of files; whether a file's owner may run it; the targets of symbolic
links. What is not: times, owners, groups, other permission bits, extended attributes and ACLs; hard links, which
become files of their own (stored once all the same); holes, which become zeros; devices, sockets and fifos.
So one digest means one tree, whoever stored it, when and where. 'castar export' has flags for what to use instead.

One more thing is part of the digest: how directories count their size. By the rule documented, that of the schema, a
directory has as many entries as there are below it. tvix since August 2024 and snix count each of them twice, and
refuse other trees: that is the rule snix. Trees of the two rules hold the same and differ in the digest wherever a
directory that is not empty is inside another. The rule is that of the store, which 'castar init' or a composition
file can set, unless --size-rule is given. 'castar copy --size-rule' changes the rule of a tree that is stored.

A directory has at most 2,097,152 entries, and 128 MiB of names, targets and digests: about two million files with names
of 20 bytes. Ingest names a larger one and refuses it. A file has at most 7.4 million chunks, which are about 2 TB.

Something unreadable, or that cannot be stored, or a file that keeps changing while it is read, is never left out
silently: all of it is named on stderr, no root is printed and the exit status is 1. With --skip-special or
--ignore-errors the rest is stored, what was left out is named, and the exit status is 3.

A directory below 8192 others is one that cannot be stored.
A PATH that is a link into /proc or /dev/fd, as /dev/stdin is, or to a pipe, is refused: there is no tree behind it.

A file is read again unless its path, inode number, size, mtime and ctime are those of the last time. They prove that
it is unchanged where the kernel keeps them reliably: on ext2, ext3, ext4, XFS, btrfs, bcachefs, F2FS, ZFS and tmpfs,
and on APFS and HFS+ of macOS. Files of any other file system are read each time: FAT, exFAT, NTFS, FUSE (sshfs,
rclone), NFS, SMB, 9p, overlayfs, squashfs, erofs, ISO 9660. So are those of a file system that was unmounted and
mounted again, for it may be another. After a reboot only those are read whose ctime is a whole second, as builders of
disk images set it. What changed just before it was read is read again the next time.

With --trust-cache, path, size, mtime and ctime are enough, on any file system. With --no-cache every file is read: what
a program writes through a memory map may not show in a file's times. A file with many names (hard links) is read once.
What is known of files is kept if an ingest fails, and for 90 days if they are left out or gone.

Patterns are those of .gitignore files, relative to PATH; of several the last one counts, and --exclude comes after
--exclude-from. What they leave out is no error. --gitignore obeys the .gitignore files below PATH as git does, those of
one repository not in another that lies in it. What git finds elsewhere, as in .git/info/exclude, does not count. The
store itself and the folder of castar's cache are always left out.

With --json, one object for each PATH: root, kind, source, files, directories, symlinks, bytes, excluded, seconds, tag,
and left_out, a list of path and reason. A name that is not UTF-8 is also there in base64, as source_base64 or
path_base64.

Examples:
  castar ingest ~/src                               # prints the digest of ~/src
  castar ingest --tag src ~/src                     # and gives it a name, for 'castar export src DEST'
  castar ingest -x --exclude '*.o' --gitignore .    # leave things out
  castar ingest -n .                                # only compute the digest; needs no store`

// ingestFlags is what was typed after castar ingest.
type ingestFlags struct {
	tag, sizeRule string
	rule          *store.SizeRule // that was given
	dryRun        bool
	noCache       bool
	exclude       []string
	excludeFrom   []string
	jobs          int
	options       ingest.Options
}

func (e *env) ingestCommand() *cli.Command {
	var f ingestFlags
	return &cli.Command{
		Name:        "ingest",
		Aliases:     []string{"add"},
		Usage:       "store trees and print their root digests",
		UsageText:   "castar ingest [flags] PATH...",
		Description: ingestHelp,
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Destination: &f.tag, Usage: "call the root `NAME`; only with one PATH"},
			boolFlag("dry-run", "n", &f.dryRun, "compute the digest and store nothing"),
			boolFlag("skip-special", "", &f.options.SkipSpecial, "leave out devices, sockets and fifos"),
			boolFlag("ignore-errors", "", &f.options.IgnoreErrors, "leave out what cannot be read"),
		}, f.sourceFlags(), []cli.Flag{
			&cli.StringFlag{Name: "size-rule", Destination: &f.sizeRule, DefaultText: "that of the store, or else documented",
				Usage: "`RULE` by which directories count their size, part of the digest: documented, or snix as tvix and snix do"},
			jobsFlag(&f.jobs),
		}),
		Action: func(c *cli.Context) error {
			paths := c.Args().Slice()
			if err := f.check(paths); err != nil {
				return err
			}
			if err := e.readExcludes(&f); err != nil {
				return err
			}
			return e.ingest(c.Context, &f, paths)
		},
	}
}

// check finds mistakes before anything is touched, and completes the options.
func (f *ingestFlags) check(paths []string) (err error) {
	switch {
	case len(paths) == 0:
		return usagef("ingest", "no PATH given")
	case f.tag != "" && len(paths) > 1:
		return usagef("ingest", "--tag names one root, but there are %d paths", len(paths))
	case f.tag != "" && f.dryRun:
		return usagef("ingest", "--tag needs a store, and --dry-run uses none")
	case f.noCache && f.options.TrustCache:
		return usagef("ingest", "--no-cache and --trust-cache exclude each other")
	}
	if err := checkJobs("ingest", f.jobs); err != nil {
		return err
	}
	if f.tag != "" {
		if err := store.ValidateTag(f.tag); err != nil {
			return usagef("ingest", "%w", err)
		}
	}
	if f.rule, err = parseRule("ingest", f.sizeRule); err != nil {
		return err
	}
	f.options.Jobs = f.jobs
	var errs []error
	for _, p := range paths { // so that a slip of the pen makes no store
		errs = append(errs, checkSource(p))
	}
	return joinSources(errs)
}

// ingest stores paths and then prints their digests.
func (e *env) ingest(ctx context.Context, f *ingestFlags, paths []string) error {
	var st *store.Store
	if !f.dryRun {
		var err error
		if st, err = e.openPatient(ctx, "ingest", forIngest); err != nil {
			return err
		}
		defer st.Close()
		if f.tag != "" && st.Tags == nil { // known now, and not only when all is stored
			return fmt.Errorf("--tag: %w", store.ErrUnsupported)
		}
	}
	var err error
	if f.options.SizeRule, err = e.sizeRule(f, st); err != nil {
		return err
	}
	results, err := e.ingestAll(ctx, f, st, paths)
	if err != nil {
		return explainRefusal(err, f.options.SizeRule)
	}
	leftOut := false
	for _, r := range results {
		leftOut = leftOut || len(r.LeftOut) > 0
		for _, p := range r.LeftOut {
			e.warn("ingest", "left out: "+p.Error())
		}
		if err := e.printIngested(f.tag, r); err != nil {
			return err
		}
	}
	if leftOut {
		return errPartial
	}
	return nil
}

// sizeRule returns the rule that was given, or that of the store. A dry run, whose st is nil, asks the store that would be
// used, and needs none.
func (e *env) sizeRule(f *ingestFlags, st *store.Store) (store.SizeRule, error) {
	switch {
	case f.rule != nil:
		return *f.rule, nil
	case st != nil:
		return st.SizeRule, nil
	}
	spec, err := e.storeSpec()
	if err != nil {
		return store.SizeDocumented, nil
	}
	rule, err := config.SizeRule(spec)
	if errors.Is(err, store.ErrNoStore) {
		return store.SizeDocumented, nil
	}
	if err != nil {
		err = &failure{err: err, status: statusOf(err), hint: "--size-rule says how to count without the store"}
	}
	return rule, err
}

// explainRefusal returns the error of an ingest or a copy. A server that counts sizes by another rule than the one that
// was followed blames some directory, which is not worth naming: no other would do.
func explainRefusal(err error, rule store.SizeRule) error {
	refused, ok := errors.AsType[*store.SizeRuleError](err)
	if !ok || rule == store.SizeSnix {
		return err
	}
	return &failure{err: refused, status: statusFailed, hint: "--size-rule snix counts the sizes of directories as tvix and snix do"}
}

// ingestAll reads all paths into st and keeps them there, or reads them only where st is nil, showing how far it is.
// All that could not be stored is one error.
func (e *env) ingestAll(ctx context.Context, f *ingestFlags, st *store.Store, paths []string) ([]ingested, error) {
	progress := new(ingest.Progress)
	f.options.Progress = progress
	sources, err := e.sources(f.options, st != nil, paths)
	if err != nil {
		return nil, err
	}
	total, stopScan := e.startScan(ctx, sources)
	defer stopScan()
	defer e.startProgress("ingest", func() sample {
		return sample{files: progress.Files.Load() + progress.Symlinks.Load(), bytes: progress.Bytes.Load(), total: total.Load()}
	})()
	var results []ingested
	var refused []ingest.Problem
	for _, s := range sources {
		r, err := e.ingestOne(ctx, s, !f.noCache, st)
		if left := (*ingest.LeftOutError)(nil); errors.As(err, &left) {
			refused = append(refused, left.Problems...)
			continue
		}
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	if len(refused) > 0 {
		if st != nil { // what was stored is not to be read again when what was refused is dealt with
			if err := st.Sync(ctx); err != nil {
				e.warn("ingest", "what was stored is not kept: "+err.Error())
			}
		}
		return nil, refusal(refused, paths)
	}
	if st != nil {
		return results, keep(ctx, st, f.tag, results)
	}
	return results, nil
}

// source is a PATH, and how it is read.
type source struct {
	path    string
	options ingest.Options
}

// sources returns how paths are read by o: without the store. A dry run does not need one that makes sense.
func (e *env) sources(o ingest.Options, needsStore bool, paths []string) ([]source, error) {
	sources := make([]source, len(paths))
	for i, p := range paths {
		sources[i] = source{p, o}
		excludes := e.excludeCache("ingest", o.Excludes, p)
		sources[i].options.Excludes = excludes
		excludes, err := e.excludeStore("ingest", excludes, p)
		if err == nil {
			sources[i].options.Landmarks, err = e.landmarks(p)
		}
		switch {
		case err == nil:
			sources[i].options.Excludes = excludes
		case needsStore:
			return nil, err
		}
	}
	return sources, nil
}

// ingestOne reads one path into st.
func (e *env) ingestOne(ctx context.Context, s source, useCache bool, st *store.Store) (ingested, error) {
	began := time.Now()
	path, err := filepath.Abs(s.path)
	if err != nil {
		return ingested{}, err
	}
	o := s.options
	if st != nil && useCache {
		if o.Cache, err = openCache(st, path); err != nil {
			e.warn("ingest", "cache: "+err.Error()) // slower, and no less right
		}
		defer func() { e.saveCache("ingest", o.Cache) }()
	}
	r, err := ingest.FS(ctx, st, s.path, o)
	if err != nil {
		return ingested{}, err
	}
	e.noteStores("ingest", s.path, r.Stores)
	return ingested{Result: r, source: path, seconds: time.Since(began).Seconds()}, nil
}

// startScan counts the bytes in sources for whoever watches a bar. total is 0 until that is done; stop ends it before.
func (e *env) startScan(ctx context.Context, sources []source) (total *atomic.Uint64, stop func()) {
	total = new(atomic.Uint64)
	if !e.wantsBar() {
		return total, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		bytes := uint64(0)
		for _, s := range sources {
			ingest.Scan(ctx, s.path, s.options)
			bytes = s.options.Progress.TotalBytes.Load() // which is the same for all
		}
		if ctx.Err() == nil {
			total.Store(bytes)
		}
	}()
	return total, func() {
		cancel()
		<-done
	}
}

// refusal is the error for what could not be stored and may not be left out. No flag helps where it is one of paths.
func refusal(problems []ingest.Problem, paths []string) error {
	errs, hint, whole := make(errorLines, len(problems)), "--skip-special stores the rest", false
	for i, p := range problems {
		errs[i] = p
		if !p.Special {
			hint = "--ignore-errors stores the rest"
		}
		whole = whole || slices.Contains(paths, p.Path)
	}
	if whole {
		hint = ""
	}
	return &failure{err: errs, status: statusFailed, hint: hint}
}

// keep makes what was stored durable, and only then names it in the log and, where tag is not empty, by the tag.
func keep(ctx context.Context, st *store.Store, tag string, results []ingested) error {
	if err := st.Sync(ctx); err != nil {
		return err
	}
	if st.Tags == nil {
		return nil
	}
	for _, r := range results {
		t := store.Tag{Name: tag, Root: r.Root, Time: time.Now(), Source: r.source, Counts: r.Counts}
		if err := st.Tags.Record(ctx, t); err != nil {
			return err
		}
		if tag != "" {
			if err := st.Tags.Set(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}
