package cmd

import (
	"math"
	"slices"

	"github.com/urfave/cli/v2"

	"castar/store"
)

const logHelp = `
Lists what was ingested into the store, newest first. Each line has the time, the beginning of the root's digest, the
number of files and their size, the tag given at that time, and the path that was read. The beginning of the digest
will do as a ROOT.

Examples:
  castar log -n 5
  castar export "$(castar log -n 1 --json | jq -r .root)" DEST`

func (e *env) logCommand() *cli.Command {
	var limit int
	return &cli.Command{
		Name:        "log",
		Usage:       "list what was ingested, newest first",
		UsageText:   "castar log [flags]",
		Description: withJSON(logHelp, "there is an object for each ingest", jsonRecord{}),
		Flags:       []cli.Flag{rangeFlag("number", "n", &limit, 0, math.MaxInt, "all", "list the last `N` ingests")},
		Action: func(c *cli.Context) error {
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
