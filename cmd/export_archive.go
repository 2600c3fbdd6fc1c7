package cmd

import (
	"errors"
	"time"

	"castar/export"
)

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
