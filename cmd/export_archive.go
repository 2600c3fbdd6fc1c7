package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"castar/export"
	"castar/store"
)

// archiveFlags is what was typed after castar export about archives.
type archiveFlags struct {
	format string // "" or dir: no archive
	name   string
}

// isArchive reports whether an archive is to be written.
func (f *archiveFlags) isArchive() bool { return f.format != "" && f.format != "dir" }

// check finds mistakes in the flags that have to do with archives, and completes o. dest is the destination, and given
// reports whether a flag was given.
func (f *archiveFlags) check(o *export.Options, dest string, given func(flag string) bool) error {
	if !f.isArchive() {
		switch {
		case dest == "-":
			return &failure{err: errors.New("a directory cannot be written to standard output"), status: statusUsage,
				hint: "--format tar, nar or zip makes an archive; 'castar cat' writes a file; a directory of that name is ./-"}
		case given("name"):
			return usagef("export", "--name works only with --format tar or zip")
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
			return usagef("export", "--%s does not work with --format %s", flag, f.format)
		}
	}
	if dest == "-" && given("overwrite") {
		return usagef("export", "--overwrite does not work with -")
	}
	if given("name") {
		if err := export.ValidateArchiveName(f.name); err != nil {
			return usagef("export", "--name: %w", err)
		}
	}
	if given("mtime") && o.MTime.IsZero() {
		o.MTime = time.Now()
	}
	return nil
}

// exportArchive writes what ref means as an archive.
func (e *env) exportArchive(ctx context.Context, f *archiveFlags, o *export.Options, r *restoreFlags, pick *picked, ref, dest string) error {
	if dest == "-" && e.isTerminal() {
		return &failure{err: errors.New("an archive would fill the terminal"), status: statusUsage, hint: "redirect it, or name a file"}
	}
	st, err := e.openPatient(ctx, "export", forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	at, err := resolveRef(ctx, st, ref)
	if err != nil {
		return err
	}
	left := complaints{e: e, command: "export"}
	if f.format != "nar" {
		kept, err := e.restore(ctx, r, o, st, at, &left)
		if err != nil {
			return err
		}
		defer kept.close()
	}
	if dest != "-" {
		if _, err := e.outside(dest); err != nil {
			return err
		}
	}
	node := at.Node
	node.Name = ""
	if st, node, err = pick.from(ctx, st, node); err != nil {
		return err
	}
	as := export.ArchiveOptions{Format: export.Format(f.format), Name: f.name, MTime: o.MTime, Jobs: o.Jobs, Progress: &export.Progress{},
		Listing: o.Listing, Xattrs: o.Xattrs, Partial: pick.some(), Complain: o.Complain}
	if as.Name == "" && node.Kind != store.KindDirectory && at.Path != "" {
		as.Name = path.Base(at.Path)
	}
	began := time.Now()
	result, err := e.writeArchive(ctx, st, node, dest, o.Overwrite, as)
	switch {
	case errors.Is(err, export.ErrNeedsName):
		return &failure{err: fmt.Errorf("%s: %w", quote(ref), err), status: statusUsage, hint: "--name gives it one"}
	case errors.Is(err, fs.ErrExist):
		return &failure{err: err, status: statusFailed, hint: "--overwrite replaces it"}
	case err != nil:
		return err
	}
	unset := left.end()
	if dest == "-" && e.json {
		return unset // standard output is the archive
	}
	o.Overwrite = false // there are no files that were kept
	return cmp.Or(e.printExported(o, node, dest, result, time.Since(began).Seconds(), left.number), unset)
}

// writeArchive does the work, and shows how far it is.
func (e *env) writeArchive(ctx context.Context, st *store.Store, node store.Node, dest string, overwrite bool, o export.ArchiveOptions) (export.Result, error) {
	total := uint64(0)
	if e.wantsBar() {
		total = knownBytes(ctx, st, node)
	}
	defer e.startProgress("export", func() sample {
		return sample{files: o.Progress.Files.Load() + o.Progress.Symlinks.Load(), bytes: o.Progress.Bytes.Load(), total: total}
	})()
	if dest == "-" {
		e.stdout.widen()
		return export.Archive(ctx, st, node, e.stdout, o)
	}
	return export.ArchiveFile(ctx, st, node, dest, 0, overwrite, o)
}
