package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const catHelp = `
Writes the contents of stored files to standard output, one after the other. ROOT may itself be a file: the digest of a
file's contents, as b3sum prints it, is enough. Everything that cat writes was checked against a digest first. If it
meets damage, it stops with an error; do not use what it wrote before.

On a terminal, control characters are shown as ^[ or \u202e; elsewhere the bytes are unchanged.

With --offset and --length, cat writes a part of one file, and reads only the chunks that hold it.

Examples:
  castar cat src:README.md
  castar cat 4a8d4dbb0f5e2b17                       # by digest of the contents
  castar cat --offset 1048576 --length 512 disk:image`

// catFlags is what was typed after castar cat.
type catFlags struct {
	offset, length uint64
	all            bool // no length was given
}

func (e *env) catCommand() *cli.Command {
	var f catFlags
	return &cli.Command{
		Name:        "cat",
		Usage:       "write the contents of stored files",
		UsageText:   "castar cat [flags] ROOT[:path]...",
		Description: catHelp,
		Flags: []cli.Flag{
			bytesFlag("offset", &f.offset, "0", "skip the first `N` bytes; N may be such as 64K"),
			bytesFlag("length", &f.length, "to the end", "write at most `N` bytes; N may be such as 64K"),
		},
		Action: func(c *cli.Context) error {
			f.all = !c.IsSet("length")
			switch {
			case c.NArg() == 0:
				return usagef("no ROOT given")
			case c.NArg() > 1 && (f.offset > 0 || !f.all):
				return usagef("--offset and --length work with one file, got %d", c.NArg())
			}
			return e.withStore(c.Context, forRead, func(st *store.Store) error { return e.cat(c.Context, &f, st, c.Args().Slice()) })
		},
	}
}

// cat writes files after it has found all of them.
func (e *env) cat(ctx context.Context, f *catFlags, st *store.Store, refs []string) error {
	files, err := rootsOf(ctx, st, refs)
	if err != nil {
		return err
	}
	for _, r := range files {
		switch r.Node.Kind {
		case store.KindDirectory:
			return hinted(fmt.Errorf("%s: is a directory", quote(r.Name)), "'castar ls' lists it")
		case store.KindSymlink:
			return fmt.Errorf("%s: is a symbolic link to %s, and is not followed", quote(r.Name), quote(r.Node.Target))
		}
	}
	for _, r := range files {
		if err := e.catFile(ctx, f, st, r.Node); err != nil {
			return fmt.Errorf("%s: %w", quote(r.Name), err)
		}
	}
	return nil
}

// catFile writes a file, or a part of it.
func (e *env) catFile(ctx context.Context, f *catFlags, st *store.Store, n store.Node) (err error) {
	b, err := tree.OpenFile(ctx, st, n)
	if err != nil {
		return err
	}
	defer b.Close()
	switch {
	case f.offset > n.Size:
		return fmt.Errorf("offset %d is past the end (%s)", f.offset, plural(n.Size, "byte"))
	case f.offset > 0:
		if _, err := b.Seek(int64(f.offset), io.SeekStart); err != nil {
			return err
		}
	}
	var out io.Writer = e.stdout
	if e.isTerminal() {
		v := &visible{w: e.stdout}
		defer func() { err = errors.Join(err, v.Flush()) }()
		out = v
	}
	left := n.Size - f.offset
	e.stdout.widen()
	if f.all || f.length >= left {
		_, err = b.WriteTo(out)
		return err
	}
	_, err = io.CopyN(out, b, int64(f.length))
	return err
}
