package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"castar/ingest"
	"castar/store"
)

const ingestHelp = `
Stores each PATH and prints its root digest, one a line, once everything is safe on disk. A PATH is a directory with
everything in it, a file, or a symbolic link, which is not followed. What the store already has is not stored again.

A root keeps only the names of entries (as bytes), the contents of files, whether the owner of a file may run it, and
the targets of symbolic links. So equal trees have equal digests, no matter who stored them, where or when. Devices and
fifos cannot be stored. Sockets hold no data and are left out, with a note.

Beside the root, ingest stores a listing of what a root does not keep: modes, owners and groups, modification times,
hard links and holes, and with --xattrs also extended attributes and ACLs. It is an mtree(5) text in a blob, named in
the tag and in the log. The digest of the root does not depend on it. An archive, or standard input, has no listing.
With --no-metadata there is no listing either, so nothing records which entries are private. Ingest then prints on
stderr how many entries others may not read.

With --as-tree or --files-from, all PATHs become one root: a directory that holds them and nothing else. It is an error
if one of them does not exist. --files-from reads PATHs from a file, one a line. With -z, each ends in NUL.

Each ingest is kept, with or without a tag, until 'castar forget' removes its line from 'castar log'. The line has the
time, the host, the --comment, the version of castar and how long it took. With --tag, the tag moves to the new root,
and ingest prints on stderr where it pointed before. home~1 and the like name earlier ingests: see 'castar log --help'.

At the end, ingest prints on stderr how many files are new, changed and unchanged since the last ingest of the same PATH
with the same --tag; without an earlier ingest, all are new. It also prints how many bytes of contents the store did not
have, and how much space they take. With several PATHs these are sums.

The digest also depends on how directories count their size. By the rule "documented", that of the schema, the size of a
directory is the number of entries below it. By the rule "snix", each of these entries counts twice. snix, and tvix
since August 2024, use the second rule, and refuse trees that use the first. The rule does not change the contents of a
tree. It changes the digest of any tree with a non-empty directory inside another directory. --size-rule selects the
rule. Without the flag, ingest uses the rule of the store, which 'castar init' or a composition file sets. 'castar copy
--size-rule' changes the rule of a stored tree.

A directory has at most 2,097,152 entries, and 128 MiB of names, targets and digests: about two million files with
names of 20 bytes. A file has at most 7.4 million chunks, about 2 TB. A tree has at most 8192 directories inside each
other. Ingest names and refuses anything larger.

Nothing is left out silently. If something cannot be read or stored, or a file keeps changing while it is read, ingest
names it on stderr, prints no root, and exits with status 1. With --skip-special or --ignore-errors it stores the rest,
names what it left out, and exits with status 3. Ingest refuses a PATH that is a link to a pipe, or a link into /proc or
/dev/fd such as /dev/stdin. Such a link does not lead to a tree.

If PATH is -, ingest stores standard input as a file. With --stdin, it stores a tree with standard input as its only
file, NAME. If a command follows --, ingest stores its output instead. If the command fails, there is no root, no tag
and no line in the log, and ingest exits with status 1. If you interrupt ingest, it stops the command. Prefer --stdin
with a command to a pipe: a shell pipe hides the failure.

With --format tar, FILE is a tar archive: ustar, PAX, GNU or older. Its root is that of the tree which tar would
extract. If several members have the same name, the last one counts, even if it replaces a directory; directories of the
same name are merged. Ingest refuses names that lead out of the tree, absolute names, members below a file or symbolic
link, and hard links to what is not in the archive before them. It names them, and treats them, and devices and fifos,
like other things that cannot be stored. With --format nar, FILE is an archive of Nix. Both are read in one pass. They
may be compressed with gzip, zstd, xz or bzip2; ingest finds out from the first bytes. An archive that is cut short, has
no end marker, or is followed by anything but zeros, is an error: there is no root.

Ingest does not read a file again if its path, inode number, size, mtime and ctime are the same as last time. On a file
system that keeps these values reliably, the file is then unchanged. On Linux, these file systems do: ext2, ext3, ext4,
XFS, btrfs, bcachefs, F2FS, ZFS and tmpfs; on macOS: APFS and HFS+. Ingest reads files on any other file system each
time: FAT, exFAT, NTFS, FUSE (sshfs, rclone), NFS, SMB, 9p, overlayfs, squashfs, erofs, ISO 9660. It also reads files on
a file system that was unmounted and mounted again, because that may be a different one. After a reboot, it reads only
files whose ctime is a whole second, because tools that build disk images set such times. It also reads a file again if
the file changed just before the last ingest.

With --trust-cache, ingest assumes on any file system that a file with the same path, size, mtime and ctime is
unchanged. With --no-cache it reads every file: a program that writes through a memory map may not change the times of a
file. A file with several names (hard links) is read once. Ingest remembers files even if it fails, and for 90 days
after they are left out or gone.

Patterns are those of .gitignore files, relative to PATH. The last one that matches decides, and --exclude comes after
--exclude-from. Leaving files out by a pattern is not an error. --gitignore obeys the .gitignore files below PATH, as
git does; those of one repository do not apply to another inside it. It does not read other files that git reads, such
as .git/info/exclude. The store itself and the directory of castar's cache are always left out.

Examples:
  castar ingest ~/src                               # print the digest of ~/src
  castar ingest --tag src ~/src                     # and name it src
  castar ingest -x --exclude '*.o' --gitignore .    # leave things out
  castar ingest --as-tree --tag conf /etc ~/.config # both as one root
  git ls-files -z | castar ingest --files-from - -z # only what git knows
  castar ingest -n .                                # only print the digest
  castar ingest --format tar linux-6.1.tar.xz       # a tree in an archive
  castar ingest -t db --stdin db.sql -- pg_dump db  # what a command writes`

// ingestJobs is the default of --jobs for commands that read files, in the words of the help.
const ingestJobs = "twice the number of processors, at least 4"

// ingestFlags is what was typed after castar ingest.
type ingestFlags struct {
	tag, comment         string
	format, stdin        string
	from                 *feed // what is read instead of trees, or nil
	noMetadata           bool
	rule                 *store.SizeRule // of --size-rule, or nil
	dryRun, noCache      bool
	exclude, excludeFrom []string
	iexclude             []string
	list                 pathList
	options              ingest.Options
}

func (e *env) ingestCommand() *cli.Command {
	var f ingestFlags
	return &cli.Command{
		Name:        "ingest",
		Aliases:     []string{"add"},
		Usage:       "store trees and print their root digests",
		UsageText:   "castar ingest [flags] PATH...|-\n       castar ingest [flags] --format tar|nar FILE|-\n       castar ingest [flags] --stdin NAME [-- COMMAND...]",
		Description: withJSON(ingestHelp, "there is an object for each PATH", jsonIngested{}),
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Destination: &f.tag, Usage: "name the root `NAME`; only if there is one root"},
			&cli.StringFlag{Name: "comment", Destination: &f.comment, Usage: "record `TEXT` in the log"},
			choiceFlag("format", &f.format, "dir", "read trees, or an archive, by `FORMAT`: dir, tar or nar", "dir", "tar", "nar"),
			&cli.StringFlag{Name: "stdin", Destination: &f.stdin, Usage: "store standard input, or what COMMAND writes, as a tree with a file `NAME`"},
			boolFlag("dry-run", "n", &f.dryRun, "compute the digest and store nothing"),
			boolFlag("no-metadata", "", &f.noMetadata, "store no listing of modes, owners and times"),
			boolFlag("xattrs", "", &f.options.Xattrs, "list extended attributes and ACLs as well"),
			boolFlag("skip-special", "", &f.options.SkipSpecial, "leave out devices and fifos"),
			boolFlag("ignore-errors", "", &f.options.IgnoreErrors, "leave out what cannot be read"),
		}, f.list.flags(), f.sourceFlags(), []cli.Flag{
			ruleFlag(&f.rule, "the rule of the store, or else documented", ""),
			jobsFlag(&f.options.Jobs, ingestJobs),
		}),
		Action: func(c *cli.Context) error {
			paths, err := e.listPaths(&f, c.Args().Slice())
			if err != nil {
				return err
			}
			if f.from, err = f.feed(paths, e.dash, c.IsSet); err != nil {
				return err
			}
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

// check finds mistakes before anything is touched.
func (f *ingestFlags) check(paths []string) error {
	switch {
	case len(paths) == 0 && f.from == nil:
		return usagef("no PATH given")
	case f.tag != "" && len(paths) > 1 && f.from == nil:
		return usagef("--tag names one root, got %d paths", len(paths))
	case f.tag != "" && f.dryRun:
		return usagef("--tag needs a store, and --dry-run uses none")
	case f.noCache && f.options.TrustCache:
		return usagef("--no-cache and --trust-cache exclude each other")
	case f.noMetadata && f.options.Xattrs:
		return usagef("--no-metadata and --xattrs exclude each other")
	case f.from != nil && f.options.Xattrs:
		return usagef("--xattrs works only with a tree of the file system")
	case !utf8.ValidString(f.comment):
		return usagef("--comment: not UTF-8")
	}
	f.options.Listing = !f.noMetadata && f.from == nil
	if f.tag != "" {
		if err := checkTagName(f.tag); err != nil {
			return usagef("%w", err)
		}
	}
	if f.from != nil {
		return nil
	}
	var errs []error
	for _, p := range paths { // a typo must not make a store
		errs = append(errs, checkSource(p, "'castar ingest -' stores what it reads from standard input"))
	}
	return joinSources(errs)
}

func (e *env) ingest(ctx context.Context, f *ingestFlags, paths []string) error {
	var st *store.Store
	began := time.Now()
	if !f.dryRun {
		var err error
		if st, err = e.openPatient(ctx, forIngest); err != nil {
			return err
		}
		defer st.Close()
		if err := checkTag(ctx, st, f.tag); err != nil { // before everything is stored
			return err
		}
	}
	var err error
	if f.options.SizeRule, err = e.sizeRule(ctx, f, st); err != nil {
		return err
	}
	var results []ingested
	if f.from != nil {
		results, err = e.ingestFeed(ctx, f, st)
	} else {
		results, err = e.ingestAll(ctx, f, st, paths)
	}
	if err != nil {
		return explainRefusal(err, &f.options.SizeRule)
	}
	leftOut := false
	for i := range results {
		r := &results[i]
		leftOut = leftOut || len(r.LeftOut) > 0
		for _, p := range r.LeftOut {
			e.warn("left out: " + p.Error())
		}
		var last *sum
		if i == len(results)-1 {
			last = added(st)
		}
		if err := e.printIngested(f, r, last); err != nil {
			return err
		}
	}
	if st != nil {
		e.noteIngested(results, added(st), time.Since(began))
	}
	return partly(nil, leftOut)
}

// checkTag reports why a tag, unless it is "", can never be set in st.
func checkTag(ctx context.Context, st *store.Store, tag string) error {
	switch {
	case tag == "":
		return nil
	case st.Tags == nil:
		return fmt.Errorf("--tag: %w", store.ErrUnsupported)
	}
	if st.RemoteTags != nil {
		err := st.RemoteTags.MaySet(ctx, tag)
		if errors.Is(err, store.ErrUnsupported) {
			err = fmt.Errorf("--tag: %w", store.ErrUnsupported)
		}
		return err
	}
	if _, err := st.Tags.Get(ctx, tag); errors.Is(err, store.ErrNewer) {
		return fmt.Errorf("tag %q: %w", tag, err)
	}
	return nil
}

// ingestSources reads what the command line names.
// ingestAll reads all paths into st and keeps them there, and shows how far it is. If st is nil, it only reads. All that
// could not be stored is one error.
func (e *env) ingestAll(ctx context.Context, f *ingestFlags, st *store.Store, paths []string) ([]ingested, error) {
	progress := new(ingest.Progress)
	f.options.Progress = progress
	sources, err := e.sources(f.options, st != nil, paths)
	if err != nil {
		return nil, err
	}
	total, stopScan := e.startScan(ctx, sources)
	defer stopScan()
	count := sampleIngest(progress)
	defer e.startProgress(func() sample {
		s := count()
		s.total = total.Load()
		return s
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
		if st != nil { // the next ingest, without what was refused, need not store the rest again
			if err := st.Sync(ctx); err != nil {
				e.warn("what was stored may be lost: " + err.Error())
			}
		}
		return nil, refusal(refused, paths)
	}
	return results, keep(ctx, st, f, results)
}

func (e *env) ingestOne(ctx context.Context, s source, useCache bool, st *store.Store) (ingested, error) {
	began := time.Now()
	path, err := filepath.Abs(s.path)
	if err != nil {
		return ingested{}, err
	}
	o := s.options
	if st != nil && useCache {
		o.Cache = e.openCache(st, path)
		defer func() { e.saveCache(o.Cache) }()
	}
	r, err := ingest.FS(ctx, st, s.path, o)
	if err != nil {
		return ingested{}, err
	}
	e.noteStores(s.path, r.Stores)
	e.noteSockets(r.Sockets)
	return ingested{Result: r, source: path, seconds: time.Since(began).Seconds()}, nil
}
