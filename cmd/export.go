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

	"castar/export"
	"castar/store"
)

const exportHelp = `
Writes the tree, file or symbolic link ROOT, or what is at path inside it, as DEST. Every byte is checked against its
digest on the way. DEST appears when it is complete, or not at all, and nothing is ever written outside it, whatever
the tree says. Symbolic links are made as they are and never followed.

A DEST that exists, unless it is an empty directory, is refused without --overwrite. With it, DEST is made equal to the
tree file by file, and files that are right already are not touched; what the tree does not have stays, unless
--delete is given. A directory in the place of a file or symbolic link is an error; so is the reverse without --delete,
and for DEST itself. The store itself is left alone where it is in DEST.

A tree with more than 8192 directories below each other, the root counted, is refused.

The model keeps no times and only one bit of the mode: the flags say what to use instead.

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
			if err := f.check(); err != nil {
				return err
			}
			return e.export(c.Context, &f, c.Args().Get(0), c.Args().Get(1))
		},
	}
}

// check finds mistakes before anything is touched, and completes the options.
func (f *exportFlags) check() (err error) {
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
	if f.options.StoreFolders, err = e.foldersBeside(dest); err != nil {
		return err
	}
	result, seconds, err := e.write(ctx, f, st, node, dest)
	isFile := node.Kind != store.KindDirectory // and so is DEST, if it is there: otherwise --overwrite is of no use
	if errors.Is(err, export.ErrNotEmpty) || errors.Is(err, fs.ErrExist) && isFile && !f.options.Overwrite {
		return &failure{err: err, status: statusFailed, hint: "--overwrite makes it equal to what is stored"}
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

// foldersBeside returns the folders that the store is in. It is an error if dest is in one.
func (e *env) foldersBeside(dest string) ([]string, error) {
	folders, err := e.storeFolders()
	if err != nil {
		return nil, err
	}
	place, err := realPath(dest)
	if errors.Is(err, fs.ErrNotExist) {
		place, err = realPath(filepath.Dir(filepath.Clean(dest)))
	}
	if err != nil {
		return folders, nil // which is for others to complain about
	}
	for _, folder := range folders {
		if folder, err := realPath(folder); err == nil && below(folder, place) {
			return nil, fmt.Errorf("%s: is in the store", quote(dest))
		}
	}
	return folders, nil
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
