package cmd

import (
	"math"
	"slices"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const logHelp = `
Lists what was ingested into the store, newest first, until 'castar forget' removes it. Each line has its number, the
time, the first digits of the digest of the root, the number of files and their size, the tag that was given then (if
any), the path that was read, and the comment (if any).

A command that takes a ROOT also takes a line: @1 is the newest ingest, @2 the one before, and so on, as numbered here.
The beginning of the digest will do, too. home~1 is the ingest before the last with the tag home, and home@2026-11-01 is
the newest with that tag on or before that day. A date may be 2026, 2026-11, 2026-11-01, 2026-11-01T1530 or
2026-11-01T153000, in local time. If a tag has exactly such a name, the name means the tag.

Examples:
  castar log -n 5
  castar diff home~1 home                          # what changed
  castar export home@2026-11-01:notes.txt notes    # one file as it was
  castar export "$(castar log -n 1 --json | jq -r .root)" DEST`

func (e *env) logCommand() *cli.Command {
	var limit int
	return &cli.Command{
		Name:        "log",
		Usage:       "list what was ingested, newest first",
		UsageText:   "castar log [flags]",
		Description: withJSON(logHelp, "there is an object for each ingest", jsonRecord{Number: 1}),
		Flags:       []cli.Flag{rangeFlag("number", "n", &limit, 0, math.MaxInt, "all", "list the last `N` ingests")},
		Action: func(c *cli.Context) error {
			return e.withTags(c.Context, forRead, func(st *store.Store) error {
				ingests, unread := tree.History(c.Context, st)
				slices.Reverse(ingests)
				if c.IsSet("number") {
					ingests = ingests[:min(limit, len(ingests))]
				}
				return e.printRecords(st, ingests, unread)
			})
		},
	}
}
