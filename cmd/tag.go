package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
)

const tagHelp = `
A tag is a name for a root. You can move it to another root. Without arguments, tag lists the tags. With a NAME and a
ROOT, it gives ROOT that NAME. With -d, it deletes tags; the roots stay in the store until 'castar gc'.

Examples:
  castar tag                              # list
  castar tag release/1.2 4fc3b6c1         # set or move
  castar tag docs src:doc                 # name a part of another root
  castar tag -d release/1.1               # delete`

func (e *env) tagCommand() *cli.Command {
	var remove bool
	return &cli.Command{
		Name:        "tag",
		Usage:       "list, set and delete names of roots",
		UsageText:   "castar tag [NAME ROOT | -d NAME...]",
		Description: withJSON(tagHelp, "there is an object for each tag", jsonRecord{}),
		Flags:       []cli.Flag{boolFlag("delete", "d", &remove, "delete the tags")},
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			switch {
			case remove && len(args) == 0:
				return usagef("tag", "--delete needs a NAME")
			case remove:
				return e.withTags(c.Context, forWrite, func(st *store.Store) error { return deleteTags(c.Context, st, args) })
			case len(args) == 0:
				return e.withTags(c.Context, forRead, func(st *store.Store) error { return e.listTags(c.Context, st) })
			case len(args) == 2:
				if err := store.ValidateTag(args[0]); err != nil {
					return usagef("tag", "%w", err)
				}
				return e.withTags(c.Context, forWrite, func(st *store.Store) error { return setTag(c.Context, st, args[0], args[1]) })
			}
			return usagef("tag", "want a NAME and a ROOT, got %d arguments", len(args))
		},
	}
}

// setTag makes name point at root. The tag does not say when and from where root was ingested: that may have been
// somebody else's work.
func setTag(ctx context.Context, st *store.Store, name, root string) error {
	node, err := resolve(ctx, st, root)
	if err != nil {
		return err
	}
	// What another process has just stored can be found before it is safe from a power cut.
	if err := st.Sync(ctx); err != nil {
		return err
	}
	return st.Tags.Set(ctx, store.Tag{Name: name, Root: node, Time: time.Now()})
}

// deleteTags deletes every tag that it can, and returns an error for the others.
func deleteTags(ctx context.Context, st *store.Store, names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, st.Tags.Delete(ctx, name))
	}
	return errors.Join(errs...)
}

// listTags prints every tag, and warns of those that cannot be read.
func (e *env) listTags(ctx context.Context, st *store.Store) error {
	list := newRecords(e, "tag")
	for t, err := range st.Tags.All(ctx) {
		list.add(t, err)
	}
	return list.print()
}

// tagNames returns the names of all tags, for completion, or none if there is no store.
func (e *env) tagNames(ctx context.Context) (names []string) {
	_ = e.withTags(ctx, forRead, func(st *store.Store) error {
		for t, err := range st.Tags.All(ctx) {
			if err == nil {
				names = append(names, t.Name)
			}
		}
		return nil
	})
	return names
}
