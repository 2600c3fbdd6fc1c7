package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"castar/export"
	"castar/store"
)

const exportHelp = `
Writes the tree, file or symbolic link ROOT, or what is at path inside it, as DEST. Every byte is checked against its
digest on the way. DEST appears when it is complete, or not at all, and nothing is ever written outside it, whatever
the tree says. Symbolic links are made as they are and never followed.

A DEST that exists, unless it is an empty directory, is refused without --overwrite. With it, DEST is made equal to the
tree file by file, and files that are right already are not touched; what the tree does not have stays, unless
--delete is given. A directory in the place of a file or symbolic link gives way with --delete, and so does the reverse;
without it they are errors. DEST itself never gives way to another kind of entry.

Before anything in DEST is changed, castar looks for what would stop it, and names all of it: entries in the way, mount
points among what is to be deleted, directories that it may not write in and, where --delete has work to do, what the
store does not have. Your own directories that lack the write bit get it for as long as it takes.

A tree with more than 8192 directories below each other, the root counted, is refused.

The model keeps no times and only one bit of the mode: the flags say what to use instead. A file that replaces another
keeps that one's permission bits, unless --mode-file or --mode-exec is given: if it has become executable, those who may
read it may run it, and if it no longer is, nobody may. It keeps the owner, too, if you are root, and the group if
you are in it; otherwise the group gets no more than others have. The setuid, setgid and sticky bits, access lists and
extended attributes of the old file are gone. Where only the executable bit is wrong, the file stays and the bit is set.

With --sparse, blocks of zeros, of 4 KiB each, become holes in every file that is written, so that a disk image takes no
more room than where it came from. Without it, zeros are written like other bytes.

The store itself is left alone where it is in DEST, by whatever path that leads to it: it is known by what is in it, so
that a copy of it is left alone as well. --delete says so on stderr. Another store is deleted like any directory.

With --dry-run, what would be made, replaced or deleted is printed: mkdir, write, chmod or delete, and a path in DEST.

With --json, one object: root, kind, dest, files, directories, symlinks, bytes, written, unchanged, deleted, seconds,
dry_run. With --dry-run, objects with op and path come before it. A name that is not UTF-8 is also there in base64, as
dest_base64 or path_base64.

Examples:
  castar export src ~/restored                      # by tag
  castar export 4fc3b6c1:cmd/main.go ./main.go      # one file, by the beginning of its root's digest
  castar export --overwrite --delete -n src ~/src   # what would have to change to make ~/src the stored tree`

// exportFlags is what was typed after castar export.
type exportFlags struct {
	fileMode, execMode, dirMode, mtime string
	jobs                               int
	options                            export.Options
}

func (e *env) exportCommand() *cli.Command {
	var f exportFlags
	return &cli.Command{
		Name:        "export",
		Aliases:     []string{"restore", "checkout"},
		Usage:       "write a stored tree",
		UsageText:   "castar export [flags] ROOT[:path] DEST",
		Description: exportHelp,
		Flags: []cli.Flag{
			boolFlag("overwrite", "", &f.options.Overwrite, "make an existing DEST equal to the tree"),
			boolFlag("delete", "", &f.options.Delete, "with --overwrite, delete what the tree does not have"),
			boolFlag("dry-run", "n", &f.options.DryRun, "write nothing; say what would be done"),
			boolFlag("sparse", "", &f.options.Sparse, "leave holes for blocks of zeros in what is written"),
			&cli.StringFlag{Name: "mode-file", Value: "0644", Destination: &f.fileMode, Usage: "octal `MODE` of files, less the umask"},
			&cli.StringFlag{Name: "mode-exec", Value: "0755", Destination: &f.execMode, Usage: "octal `MODE` of executable files, less the umask"},
			&cli.StringFlag{Name: "mode-dir", Value: "0755", Destination: &f.dirMode, Usage: "octal `MODE` of directories, less the umask"},
			&cli.StringFlag{Name: "mtime", Value: "now", Destination: &f.mtime, Usage: "modification `TIME` of all: now, epoch, or like 2006-01-02T15:04:05Z"},
			jobsFlag(&f.jobs),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("export", "want a ROOT and a DEST, got %d arguments", c.NArg())
			}
			if c.Args().Get(1) == "" {
				return usagef("export", "DEST is empty")
			}
			if err := f.check(c.IsSet); err != nil {
				return err
			}
			return e.export(c.Context, &f, c.Args().Get(0), c.Args().Get(1))
		},
	}
}

// check finds mistakes before anything is touched, and completes the options. given reports whether a flag was.
func (f *exportFlags) check(given func(flag string) bool) (err error) {
	if f.options.Delete && !f.options.Overwrite {
		return usagef("export", "--delete works only with --overwrite")
	}
	if err := checkJobs("export", f.jobs); err != nil {
		return err
	}
	f.options.Jobs = f.jobs
	if f.options.FileMode, err = parseMode("--mode-file", f.fileMode); err != nil {
		return err
	}
	if f.options.ExecMode, err = parseMode("--mode-exec", f.execMode); err != nil {
		return err
	}
	if !given("mode-file") {
		f.options.FileMode = 0 // the same, but for a file that is replaced
	}
	if !given("mode-exec") {
		f.options.ExecMode = 0
	}
	if f.options.DirMode, err = parseMode("--mode-dir", f.dirMode); err != nil {
		return err
	}
	if f.options.DirMode&0o500 != 0o500 {
		return usagef("export", "invalid value %s for --mode-dir: its owner could not enter a directory", quote(f.dirMode))
	}
	f.options.MTime, err = parseTime(f.mtime)
	return err
}

// parseMode reads permission bits in octal.
func parseMode(flag, s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n == 0 || n > uint64(fs.ModePerm) {
		return 0, usagef("export", "invalid value %s for %s: want permission bits in octal, 0001 to 0777", quote(s), flag)
	}
	return fs.FileMode(n), nil
}

// parseTime reads --mtime. The zero time means that files keep the times at which they are written.
func parseTime(s string) (time.Time, error) {
	switch s {
	case "now":
		return time.Time{}, nil
	case "epoch":
		return time.Unix(0, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() { // which would mean now
		return t, usagef("export", "invalid value %s for --mtime: want now, epoch or a time like 2006-01-02T15:04:05Z", quote(s))
	}
	return t, nil
}

// export writes what ref means as dest.
func (e *env) export(ctx context.Context, f *exportFlags, ref, dest string) error {
	st, err := e.openPatient(ctx, "export", forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	node, err := resolve(ctx, st, ref)
	if err != nil {
		return err
	}
	if err := e.guardStore(f, dest); err != nil {
		return err
	}
	result, seconds, err := e.write(ctx, f, st, node, dest)
	isFile := node.Kind != store.KindDirectory // and so is DEST, if it is there: otherwise --overwrite is of no use
	if errors.Is(err, export.ErrNotEmpty) || errors.Is(err, fs.ErrExist) && isFile && !f.options.Overwrite {
		return &failure{err: err, status: statusFailed, hint: "--overwrite makes it equal to what is stored"}
	}
	if at := (*export.Error)(nil); errors.As(err, &at) && (at.Err == unix.EISDIR || at.Err == unix.ENOTDIR) && !f.options.Delete {
		return &failure{err: err, status: statusFailed, hint: "--delete replaces what is in the way"}
	}
	if err != nil {
		return err
	}
	return e.printExported(f, node, dest, result, seconds)
}

// write does the work, showing how far it is.
func (e *env) write(ctx context.Context, f *exportFlags, st *store.Store, node store.Node, dest string) (export.Result, float64, error) {
	f.options.Progress = &export.Progress{}
	if f.options.DryRun || e.verbose {
		f.options.Notify = func(c export.Change) { e.printChange(f.options.DryRun, c) }
	}
	if !f.options.DryRun { // which is quick, and has lines for the same terminal
		total := uint64(0)
		if e.wantsBar() {
			total = knownBytes(ctx, st, node)
		}
		p := f.options.Progress
		defer e.startProgress("export", func() sample {
			return sample{files: p.Files.Load() + p.Symlinks.Load(), bytes: p.Bytes.Load(), total: total}
		})()
	}
	began := time.Now()
	result, err := export.Dir(ctx, st, node, dest, f.options)
	return result, time.Since(began).Seconds(), err
}

// guardStore has the store left alone where it is in dest. It is an error if dest is in the store.
func (e *env) guardStore(f *exportFlags, dest string) (err error) {
	f.options.Spared = func(path string) {
		e.note("export", fmt.Sprintf("%s: leaving alone the store itself, %s", quote(dest), quote(path)))
	}
	if f.options.Landmarks, err = e.landmarks(dest); err != nil {
		return err
	}
	folders, err := e.storeFolders() // one that is new has no landmark
	if err != nil {
		return err
	}
	place, err := realPath(dest)
	if errors.Is(err, fs.ErrNotExist) {
		place, err = realPath(filepath.Dir(filepath.Clean(dest)))
	}
	if err != nil {
		return nil // which is for others to complain about
	}
	for _, folder := range folders {
		if folder, err := realPath(folder); err == nil && below(folder, place) {
			return fmt.Errorf("%s: is in the store", quote(dest))
		}
	}
	return nil
}

// knownBytes returns how many bytes of file contents node holds, or 0 where nobody can say without reading all of its
// directories: a root that was ingested here is in the log.
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
