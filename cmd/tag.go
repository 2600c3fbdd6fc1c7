package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/history"
	"castar/store/tree"
)

const tagHelp = `
A tag is a name for a root. Without arguments, tag lists the tags. With a NAME and a ROOT, it gives ROOT that NAME. A
tag that points elsewhere moves only with --force. With -d, it deletes tags; a root stays in the store while another tag
or a line of 'castar log' names it, and after that until 'castar gc' runs.

A new NAME must not read like that of an ingest, as home~1 or home@2026 do: see 'castar log --help'.

Examples:
  castar tag                              # list
  castar tag release/1.2 4fc3b6c1         # set
  castar tag docs src:doc                 # name a part of another root
  castar tag --force good home~1          # move
  castar tag -d release/1.1               # delete`

func (e *env) tagCommand() *cli.Command {
	var remove, force bool
	return &cli.Command{
		Name:        "tag",
		Usage:       "list, set and delete names of roots",
		UsageText:   "castar tag [flags]\n       castar tag [flags] NAME ROOT\n       castar tag [flags] -d NAME...",
		Description: withJSON(tagHelp, "there is an object for each tag", jsonRecord{}),
		Flags:       []cli.Flag{boolFlag("delete", "d", &remove, "delete the tags"), boolFlag("force", "f", &force, "move a tag that points elsewhere")},
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			switch {
			case remove && len(args) == 0:
				return usagef("--delete needs a NAME")
			case remove:
				return e.withTags(c.Context, forWrite, func(st *store.Store) error { return deleteTags(c.Context, st, args) })
			case len(args) == 0:
				return e.withTags(c.Context, forRead, func(st *store.Store) error { return e.listTags(c.Context, st) })
			case len(args) == 2:
				if err := checkTagName(args[0]); err != nil {
					return usagef("%w", err)
				}
				return e.withTags(c.Context, forWrite, func(st *store.Store) error { return e.setTag(c.Context, st, args[0], args[1], force) })
			}
			return usagef("want a NAME and a ROOT; to list tags, give no argument")
		},
	}
}

// checkTagName reports why a new tag may not have a name: it is none, or it reads like the name of an ingest. Old tags may.
func checkTagName(name string) error {
	if err := store.ValidateTag(name); err != nil {
		return err
	}
	if _, ok := history.ParseName(name); ok {
		return fmt.Errorf("invalid tag %q: reads like the name of an ingest, see 'castar log --help'", name)
	}
	return nil
}

// setTag makes name point at root, with the listing that belongs to it. The tag does not say when and from where root was
// ingested: that may have been somebody else's work. A tag that is there moves only with force.
func (e *env) setTag(ctx context.Context, st *store.Store, name, root string, force bool) error {
	r, err := resolveRef(ctx, st, root)
	if err != nil {
		return err
	}
	r.Node.Name = ""
	t := store.Tag{Name: name, Root: r.Node, Time: time.Now()}
	if r.Path == "" {
		t.Listing = r.Listing
	}
	var expected *store.Tag
	old, getErr := st.Tags.Get(ctx, name)
	if getErr == nil { // one that cannot be read may be set again
		expected = &old
		same := history.SameRoot(old.Root, t.Root)
		switch {
		case !same && !force:
			return hinted(fmt.Errorf("tag %q points at %s already", name, tree.ShortName(old)), "--force moves it")
		case same && (old.Listing != store.Digest{} || t.Listing == store.Digest{}):
			return nil // it has all that is known
		}
	}
	// What another process has just stored can be found before it is safe from a power cut.
	if err := st.Sync(ctx); err != nil {
		return err
	}
	if getErr != nil && !store.IsNotFound(getErr) {
		return st.Tags.Set(ctx, t)
	}
	err = st.SwapTag(ctx, t, expected)
	if err == nil && getErr == nil && !history.SameRoot(old.Root, t.Root) {
		e.note(fmt.Sprintf("%s moved from %s", quote(name), tree.ShortName(old)))
	}
	return err
}

// deleteTags deletes every tag that it can, and returns an error for the others.
func deleteTags(ctx context.Context, st *store.Store, names []string) error {
	var errs []error
	others := 0
	for _, name := range names {
		err := st.Tags.Delete(ctx, name)
		if err != nil && !store.IsNotFound(err) {
			others++
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err != nil && others == 0 {
		return &failure{err: err, status: statusNotFound, hint: "'castar tag' lists the tags"}
	}
	return err
}

func (e *env) listTags(ctx context.Context, st *store.Store) error {
	tags, unread := readTags(ctx, st)
	return e.printRecords(st, tags, unread)
}
