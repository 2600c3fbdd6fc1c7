package cmd

import (
	"time"

	"github.com/urfave/cli/v2"
)

// boolFlag returns a flag without a value. The short form may be "".
func boolFlag(name, short string, to *bool, usage string) cli.Flag {
	f := &cli.BoolFlag{Name: name, Destination: to, Usage: usage}
	if short != "" {
		f.Aliases = []string{short}
	}
	return f
}

// jobsFlag returns -j.
func jobsFlag(to *int) cli.Flag {
	return &cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Destination: to, DefaultText: "as many as the machine has processors",
		Usage: "work on `N` files at once; the result is the same with any"}
}

// waitFlag returns --wait, of commands that have the store for themselves.
func waitFlag(to *time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "wait", Destination: to, DefaultText: "0s",
		Usage: "wait for `DURATION`, like 90s or 1h, if somebody else uses the store"}
}
