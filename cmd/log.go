package cmd

import (
	"slices"

	"github.com/urfave/cli/v2"

	"castar/store"
)

const logHelp = `
Lists what was ingested into the store, newest first. Each line has the time,
the beginning of the root's digest, which you can use as a ROOT, the number of
files and their size, the tag given at that time, and the path that was read.

With --json, there is an object for each ingest: name, root, kind, time, source,
files, directories, symlinks, bytes. If a source is not UTF-8, source_base64 has
it in base64.

Examples:
  castar log -n 5
  castar export "$(castar log -n 1 --json | jq -r .root)" DEST`

func (e *env) logCommand() *cli.Command {
	var limit int
	return &cli.Command{
		Name:        "log",
		Usage:       "list what was ingested, newest first",
		UsageText:   "castar log [-n N]",
		Description: logHelp,
		Flags:       []cli.Flag{numberFlag("number", "n", &limit, "all", "list the last `N` ingests")},
		Action: func(c *cli.Context) error {
			switch {
			case c.Args().Present():
				return usagef("log", "unexpected argument %s", quote(c.Args().First()))
			case limit < 0:
				return usagef("log", "--number must not be negative")
			}
			return e.withTags(c.Context, forRead, func(st *store.Store) error {
				list := newRecords(e, "log")
				for t, err := range st.Tags.Log(c.Context) {
					list.add(t, err)
				}
				slices.Reverse(list.tags)
				if c.IsSet("number") {
					list.tags = list.tags[:min(limit, len(list.tags))]
				}
				return list.print()
			})
		},
	}
}
