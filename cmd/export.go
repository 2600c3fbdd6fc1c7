package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"castar/export"
	"castar/store"
)

const exportHelp = `
Writes the tree, file or symbolic link ROOT, or what is at path inside it, to DEST. Every byte is checked against its
digest on the way. DEST appears when it is complete, or not at all. Nothing is ever written outside it, whatever the
tree says. Symbolic links are made as they are, and never followed.

An existing DEST is refused, unless it is an empty directory or --overwrite is given. With --overwrite, export makes
DEST equal to the tree, file by file. It does not touch files that are right already. Other files in DEST stay, unless
--delete is given. With --delete, export also replaces a directory by a file or symbolic link of the same name, and the
reverse. Without --delete, this is an error. Export never replaces DEST itself by another kind of entry.

Before it changes an existing DEST, export looks for what would stop it, and names all of it: entries in the way,
mount points that would be deleted, directories that it may not write in, and, if there is something to delete,
contents that the store does not have. If you own a directory without its write bit, export sets the bit while it
works.

A tree with more than 8192 directories inside each other is refused.

The digest of a tree stands for names, contents and one bit of the mode. Beside it, 'castar ingest' keeps a listing of
modes, owners, times, hard links, holes and, with --xattrs, attributes. If ROOT is a tag or a line of the log, export
restores modes, times, hard links and holes from the listing, whatever the umask is. With --owner, it also restores
owners, setuid and setgid: the user and group of the recorded name or, if this machine does not know the name, of the
recorded number. With --xattrs, it also restores extended attributes and ACLs. In files that it keeps, it removes ACLs
and user attributes that the listing does not have. --mode-file, --mode-exec, --mode-dir and --mtime win over the
listing, and --metadata=none ignores it. Export names on stderr what it cannot restore, and each place where the listing
and the tree disagree. The exit status is then 3. Files with equal contents that were not hard links stay separate
files.

A digest has no listing. Without one, files get the time of writing and the modes of the flags. A file that replaces
another keeps the old permission bits, unless --mode-file or --mode-exec is given. If the file becomes executable,
everyone with permission to read it gets permission to run it, unless the umask forbids that. If it stops being
executable, all lose that permission. The file keeps its owner if you are root, and its group if you are in it;
otherwise the group gets no more rights than others have. The setuid, setgid and sticky bits, ACLs and extended
attributes of the old file are lost. If only the executable bit is wrong, export sets the bit and keeps the file.

On a file system where files can share blocks (XFS, btrfs and some others), an exported file shares with the store the
blocks that the store keeps uncompressed, such as those of photos, films and archives. They take no extra space, as
after cp --reflink. A change to one file does not change the other. Every byte is checked all the same. Export copies
everything else: compressed contents, files of less than 128 KiB, and what was stored on another kind of file system.
--reflink=always is an error if DEST and the store are not on one such file system. With --reflink=never, nothing is
shared. -v and --json say how much is shared.

Files that had holes get holes again, if the listing says so. With --sparse, export writes 4 KiB blocks of zeros as
holes in every file, so a disk image takes no more space than its original.

If the store is inside DEST, export leaves it alone, by whatever path DEST leads to it. Export recognizes the store by
its contents, so it also leaves a copy of the store alone. With --delete, it says on stderr what it left. Any other
store is deleted like a directory.

With --format tar, nar or zip, export writes an archive to FILE, which appears when it is complete, or not at all, or to
standard output (-). If ROOT is a tag or a line of the log, a tar archive has the modes, owners, times and hard links of
the listing, and with --xattrs its attributes; a zip archive has the modes, owners (as numbers) and times. The time of
--mtime wins. A NAR of a root always has the same bytes. So has a tar or zip archive if ROOT is a digest or
--metadata=none is given: owners are 0, modes are 0644, 0755 or 0777, and times are 1970-01-01 or that of --mtime. Names
are always sorted. Every byte is checked on the way. After an error the archive has no end, and the exit status is not
0; do not use what was written to standard output.

A tar archive is ustar, with PAX records only where a name, size, time or owner does not fit. Names that are not UTF-8
are raw bytes. A zip archive cannot mark them as such, so a program may misread them. Programs that do not know extended
timestamps show no time before 1980 in a zip archive. The archive has the entries of the root at its top, or below
--name. A root that is a file or symbolic link needs --name in a tar or zip archive, unless it has a path: then its name
is the last part of the path. A tar archive with a listing also has the root itself, as ./. A NAR, which Nix reads, may
be any root. With --json and -, there is no object.

With --include and --exclude, export writes a part of the tree. Patterns are those of .gitignore files, relative to what
is exported. A directory is made if it is included, or if something in it is.

With --dry-run, export prints what it would do to each entry that is not right: mkdir, write, chmod, set (its mode,
owner, time or attributes), link (to a file that is there) or delete, and the path in DEST.

Examples:
  castar export src ~/restored                      # by tag
  castar export 4fc3b6c1:cmd/main.go ./main.go      # one file, by digest
  castar export --overwrite --delete -n src ~/src   # how ~/src differs
  castar export --format tar src - | tar tv         # as an archive`

// exportFlags is what was typed after castar export.
type exportFlags struct {
	options export.Options
	archiveFlags
	metadata      string
	owner, xattrs bool
	now           bool // --mtime=now was given
	pick          picked
}

func (e *env) exportCommand() *cli.Command {
	f := exportFlags{metadata: "auto"}
	o := &f.options
	reflink, reflinks := "auto", []string{"auto", "always", "never"} // in the order of export.Reflink
	return &cli.Command{
		Name:      "export",
		Aliases:   []string{"restore", "checkout"},
		Usage:     "write a stored tree",
		UsageText: "castar export [flags] ROOT[:path] DEST\n       castar export [flags] --format tar|nar|zip ROOT[:path] FILE|-",
		Description: withJSON(exportHelp, "there is one object", jsonExported{},
			"With --dry-run, an object for each change comes before it", jsonExportAction{}),
		Flags: []cli.Flag{
			choiceFlag("format", &f.format, "dir", "write a directory or an archive, by `FORMAT`: dir, tar, nar or zip", "dir", "tar", "nar", "zip"),
			&cli.StringFlag{Name: "name", Destination: &f.name, Usage: "put everything in a tar or zip archive below the path `NAME`"},
			boolFlag("overwrite", "", &o.Overwrite, "make an existing DEST equal to the tree"),
			boolFlag("delete", "", &o.Delete, "with --overwrite, delete what the tree does not have"),
			boolFlag("dry-run", "n", &o.DryRun, "write nothing; print what would be done"),
			boolFlag("sparse", "", &o.Sparse, "write 4 KiB blocks of zeros as holes"),
			choiceFlag("reflink", &reflink, "auto", "share blocks with the store: `WHEN` is auto (if the file system can), always or never", reflinks...),
			metadataFlag(&f.metadata, "restore modes, times and hard links: `WHEN` is auto (if the store keeps them) or none"),
			boolFlag("owner", "", &f.owner, "also restore owners, groups, setuid and setgid; only root can"),
			boolFlag("xattrs", "", &f.xattrs, "also restore extended attributes and ACLs"),
			modeFlag("mode-file", &o.FileMode, 0, "0644", "files"),
			modeFlag("mode-exec", &o.ExecMode, 0, "0755", "executable files"),
			modeFlag("mode-dir", &o.DirMode, 0o500, "0755", "directories"),
			timeFlag(&o.MTime, "the time in the listing; without a listing, now, or epoch in an archive"),
			jobsFlag(&o.Jobs, "the number of processors, at least 8"),
			listFlag("include", "i", &f.pick.include, "write only what `PATTERN` matches, and what is in it"),
			listFlag("exclude", "e", &f.pick.exclude, "do not write what `PATTERN` matches; this decides over --include"),
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.NArg() != 2:
				return usagef("want a ROOT and a DEST, got %s", plural(uint64(c.NArg()), "argument"))
			case o.Delete && !o.Overwrite:
				return usagef("--delete works only with --overwrite")
			case o.Delete && f.pick.some():
				return usagef("--delete does not work with --include or --exclude")
			case f.metadata == "none" && (f.owner || f.xattrs):
				return usagef("--owner and --xattrs do not work with --metadata=none")
			}
			o.Reflink = export.Reflink(slices.Index(reflinks, reflink))
			f.now = c.IsSet("mtime") && o.MTime.IsZero()
			if err := f.checkArchive(o, c.Args().Get(1), c.IsSet); err != nil {
				return err
			}
			return e.export(c.Context, &f, c.Args().Get(0), c.Args().Get(1))
		},
	}
}

// export writes what ref means as dest, a directory or an archive.
func (e *env) export(ctx context.Context, f *exportFlags, ref, dest string) error {
	if f.isArchive() && dest == "-" && e.isTerminal() {
		return &failure{err: errors.New("will not write an archive to a terminal"), status: statusUsage, hint: "redirect it, or name a file"}
	}
	st, err := e.openPatient(ctx, forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	at, err := resolveRef(ctx, st, ref)
	if err != nil {
		return err
	}
	left := complaints{e: e}
	if f.format != "nar" {
		kept, err := e.restore(ctx, f, st, at, &left)
		if err != nil {
			return err
		}
		defer kept.Close()
	}
	node := at.Node
	node.Name = "" // a root has none
	if dest != "-" {
		if _, f.options.Landmarks, err = e.outside(dest); err != nil {
			return err
		}
	}
	if st, node, err = f.pick.from(ctx, st, node); err != nil {
		return err
	}
	if f.name == "" && node.Kind != store.KindDirectory && at.Path != "" {
		f.name = path.Base(at.Path)
	}
	began := time.Now()
	result, err := e.write(ctx, f, st, node, dest)
	if err != nil {
		return f.explain(err, ref, node.Kind != store.KindDirectory)
	}
	unset := left.end()
	if dest == "-" && e.json {
		return unset // standard output is the archive
	}
	return cmp.Or(e.printExported(f, node, dest, result, time.Since(began), left.number), unset)
}

// write does the work, and shows how far it is.
func (e *env) write(ctx context.Context, f *exportFlags, st *store.Store, node store.Node, dest string) (export.Result, error) {
	o := &f.options
	o.Progress, o.Partial = &export.Progress{}, f.pick.some()
	o.Spared = func(path string) {
		e.note(fmt.Sprintf("%s: the store itself is left alone: %s", quote(dest), quote(path)))
	}
	if o.DryRun || e.verbose {
		o.Notify = func(a export.Action) { e.printAction(o.DryRun, a) }
	}
	if !o.DryRun { // a dry run is quick, and prints lines to the same terminal
		defer e.showExport(ctx, o.Progress, st, node)()
	}
	if !f.isArchive() {
		return export.Dir(ctx, st, node, dest, *o)
	}
	as := export.ArchiveOptions{Format: export.Format(f.format), Name: f.name, Options: *o}
	if dest == "-" {
		e.stdout.widen()
		return export.Archive(ctx, st, node, e.stdout, as)
	}
	return export.ArchiveFile(ctx, st, node, dest, o.Overwrite, as)
}

// explain returns the error of an export, with what can be done about it.
func (f *exportFlags) explain(err error, ref string, isFile bool) error {
	at, hint := (*export.Error)(nil), ""
	exists := errors.Is(err, fs.ErrExist)
	switch {
	case errors.Is(err, export.ErrNeedsName):
		return &failure{err: fmt.Errorf("%s: %w", quote(ref), err), status: statusUsage, hint: "--name gives it one"}
	case f.isArchive() && exists:
		hint = "--overwrite replaces it"
	case f.isArchive():
		return err
	case errors.Is(err, export.ErrNotEmpty), exists && isFile && !f.options.Overwrite: // it does not help if DEST is of another kind
		hint = "--overwrite makes it equal to what is stored"
	case errors.As(err, &at) && (at.Err == unix.EISDIR || at.Err == unix.ENOTDIR) && !f.options.Delete:
		hint = "--delete replaces what is in the way"
	default:
		return err
	}
	return hinted(err, hint)
}

// showExport shows how far an export of node is, until the returned function is called.
func (e *env) showExport(ctx context.Context, p *export.Progress, st *store.Store, node store.Node) (stop func()) {
	total := uint64(0)
	if e.wantsBar() || e.progress == "json" {
		total = knownBytes(ctx, st, node)
	}
	return e.startProgress(func() sample {
		return sample{files: p.Files.Load() + p.Symlinks.Load(), bytes: p.Bytes.Load(), total: total}
	})
}

// knownBytes returns how many bytes of file contents node holds. The log knows a root that was ingested here. For others
// the result is 0, because all directories would have to be read.
func knownBytes(ctx context.Context, st *store.Store, node store.Node) uint64 {
	if node.Kind != store.KindDirectory {
		return node.Size
	}
	if st.Tags != nil {
		for t, err := range st.Tags.Log(ctx) {
			if err == nil && t.Root.Kind == node.Kind && t.Root.Digest == node.Digest {
				return t.Counts.Bytes
			}
		}
	}
	return 0
}

// jsonExportAction is a line of castar export --dry-run --json.
type jsonExportAction struct {
	Op export.Op `json:"op"` // mkdir, write, chmod, set, link or delete
	jsonPath
}

func (jsonExportAction) lineType() string { return "change" }

// printAction says what is done to an entry, as a result of a dry run or as a note.
func (e *env) printAction(isResult bool, a export.Action) {
	path := "."
	if a.Path != "" {
		path = quote(a.Path)
	}
	if isResult {
		e.print(jsonExportAction{a.Op, newJSONPath(a.Path)}, fmt.Sprintf("%-6s %s", a.Op, path))
	} else {
		e.note(fmt.Sprintf("%s %s", a.Op, path))
	}
}

// jsonExported is what castar export --json prints at the end.
type jsonExported struct {
	jsonRoot
	Dest          string  `json:"dest"`
	DestBase64    string  `json:"dest_base64,omitempty"`
	export.Result         // files, directories, symlinks, bytes of the tree; entries written, unchanged, deleted
	Seconds       float64 `json:"seconds"`
	NotRestored   uint64  `json:"not_restored,omitempty" help:"the number of modes, owners, times, links and attributes that could not be restored"`
	DryRun        bool    `json:"dry_run" help:"then the numbers are what would be done"`
}

func (jsonExported) lineType() string { return "summary" }

// printExported says what was done: as JSON, or as a note if there is more to say than that all of it was written.
func (e *env) printExported(f *exportFlags, node store.Node, dest string, r export.Result, took time.Duration, unset uint64) error {
	if e.json {
		root, err := newJSONRoot(node)
		j := jsonExported{jsonRoot: root, Result: r, Seconds: took.Seconds(), NotRestored: unset, DryRun: f.options.DryRun}
		j.Dest, j.DestBase64 = store.JSONName(dest)
		if err == nil {
			e.stdout.json(j)
		}
		return err
	}
	if e.verbose {
		shared := ""
		if r.Shared > 0 {
			shared = fmt.Sprintf(" (%s shared with the store)", store.HumanBytes(r.Shared))
		}
		e.note(fmt.Sprintf("%s: %s, %s, %s, %s%s in %.1f s", dest, plural(r.Files, "file"),
			plural(r.Directories, "directory"), plural(r.Symlinks, "symbolic link"), store.HumanBytes(r.Bytes), shared, took.Seconds()))
	}
	switch {
	case f.options.DryRun:
		e.note(fmt.Sprintf("%s: would write %d, keep %d, delete %d", dest, r.Written, r.Unchanged, r.Deleted))
	case f.options.Overwrite && !f.isArchive(): // which keeps no files
		e.note(fmt.Sprintf("%s: wrote %d, kept %d, deleted %d", dest, r.Written, r.Unchanged, r.Deleted))
	}
	return nil
}

// archiveFlags is what was typed after castar export about archives.
type archiveFlags struct {
	format string // "" or dir: no archive
	name   string
}

func (f *archiveFlags) isArchive() bool { return f.format != "" && f.format != "dir" }

// checkArchive finds mistakes in the flags that have to do with archives, and completes o. dest is the destination, and given
// reports whether a flag was given.
func (f *archiveFlags) checkArchive(o *export.Options, dest string, given func(flag string) bool) error {
	if !f.isArchive() {
		switch {
		case dest == "-":
			return &failure{err: errors.New("a directory cannot be written to standard output"), status: statusUsage,
				hint: "--format tar, nar or zip makes an archive; 'castar cat' writes a file; a directory of that name is ./-"}
		case given("name"):
			return usagef("--name works only with --format tar or zip")
		}
		return nil
	}
	refused := []string{"delete", "dry-run", "sparse", "reflink", "mode-file", "mode-exec", "mode-dir", "owner"}
	switch f.format {
	case "nar":
		refused = append(refused, "name", "mtime", "metadata", "xattrs")
	case "zip":
		refused = append(refused, "xattrs")
	}
	for _, flag := range refused {
		if given(flag) {
			return usagef("--%s does not work with --format %s", flag, f.format)
		}
	}
	if dest == "-" && given("overwrite") {
		return usagef("--overwrite does not work with -")
	}
	if given("name") {
		if err := export.ValidateArchiveName(f.name); err != nil {
			return usagef("--name: %w", err)
		}
	}
	if given("mtime") && o.MTime.IsZero() {
		o.MTime = time.Now()
	}
	return nil
}
