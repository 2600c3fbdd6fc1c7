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

// maxJobs is more than helps anywhere, and few enough that a slip of the fingers costs little memory.
const maxJobs = 1 << 16

// jobsFlag returns -j, whose value checkJobs checks.
func jobsFlag(to *int) cli.Flag {
	return &cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Destination: to, DefaultText: "a number that suits the machine's processors",
		Usage: "work on `N` files at once; the result is the same with any"}
}

// checkJobs returns what is wrong with the value of -j, or nil.
func checkJobs(command string, jobs int) error {
	switch {
	case jobs < 0:
		return usagef(command, "--jobs must not be negative")
	case jobs > maxJobs:
		return usagef(command, "--jobs must not be more than %d", maxJobs)
	}
	return nil
}

// waitFlag returns --wait, of commands that have the store for themselves.
func waitFlag(to *time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "wait", Destination: to, DefaultText: "0s",
		Usage: "wait for `DURATION`, like 90s or 1h, if somebody else uses the store"}
}
