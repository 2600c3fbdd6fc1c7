package cmd

import (
	"fmt"

	"castar/export"
	"castar/store"
)

// jsonChange is a line of castar export --dry-run --json.
type jsonChange struct {
	Op         export.Op `json:"op"`                    // mkdir, write, chmod or delete
	Path       string    `json:"path"`                  // inside DEST; "" is DEST itself
	PathBase64 string    `json:"path_base64,omitempty"` // where that is not UTF-8
}

// printChange prints a change: the result of a dry run, otherwise a note for who wants to know.
func (e *env) printChange(isResult bool, c export.Change) {
	path := "."
	if c.Path != "" {
		path = quote(c.Path)
	}
	switch {
	case !isResult:
		e.note("export", fmt.Sprintf("%s %s", c.Op, path))
	case e.json:
		j := jsonChange{Op: c.Op}
		j.Path, j.PathBase64 = jsonName(c.Path)
		e.stdout.json(j)
	default:
		fmt.Fprintf(e.stdout, "%-6s %s\n", c.Op, path)
	}
}

// jsonExported is what castar export --json prints at the end. With --dry-run it counts what would be done.
type jsonExported struct {
	Root          string  `json:"root"`                  // digest of what was written, 64 hexadecimal digits
	Kind          string  `json:"kind"`                  // directory, file or symlink
	Dest          string  `json:"dest"`                  // as it was given
	DestBase64    string  `json:"dest_base64,omitempty"` // where that is not UTF-8
	export.Result         // files, directories, symlinks, bytes of the tree; entries written, unchanged, deleted
	Seconds       float64 `json:"seconds"`
	DryRun        bool    `json:"dry_run"`
}

// printExported says what was done: as JSON, or as a note where more than "all of it" is to be said.
func (e *env) printExported(f *exportFlags, node store.Node, dest string, r export.Result, seconds float64) error {
	if e.json {
		digest, err := node.RootDigest()
		if err != nil {
			return err
		}
		j := jsonExported{Root: digest.String(), Kind: node.Kind.String(), Result: r, Seconds: seconds, DryRun: f.options.DryRun}
		j.Dest, j.DestBase64 = jsonName(dest)
		e.stdout.json(j)
		return nil
	}
	if e.verbose {
		e.note("export", fmt.Sprintf("%s: %d files, %d directories, %d symlinks, %s in %.1f s", dest,
			r.Files, r.Directories, r.Symlinks, humanBytes(r.Bytes), seconds))
	}
	if f.options.Overwrite || f.options.DryRun {
		text := "%s: %d written, %d unchanged, %d deleted"
		if f.options.DryRun {
			text = "%s: would be %d written, %d unchanged, %d deleted"
		}
		e.note("export", fmt.Sprintf(text, dest, r.Written, r.Unchanged, r.Deleted))
	}
	return nil
}
