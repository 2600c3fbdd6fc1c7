package cmd

import (
	"errors"
	"math"
	"strconv"
	"strings"
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

// size is a flag's value in bytes.
type size struct{ n *int64 }

// Set reads a positive number, with K, M or G after it for units of 1024, and KiB or KB as well.
func (v size) Set(s string) error {
	number := strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I"), "KMG")
	shift, ok := map[string]int{"": 0, "B": 0, "K": 10, "M": 20, "G": 30}[strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(number):]), "B"), "I")]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 1 || n > math.MaxInt64>>shift {
		return errors.New("want a positive number of bytes, like 64M or 1G")
	}
	*v.n = n << shift
	return nil
}

// String writes the size as Set reads it.
func (v size) String() string {
	if v.n == nil {
		return ""
	}
	n, unit := *v.n, ""
	for _, u := range []string{"K", "M", "G"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

// sizeFlag returns a flag whose value is a number of bytes.
func sizeFlag(name string, to *int64, value int64, usage string) cli.Flag {
	*to = value
	return &cli.GenericFlag{Name: name, Value: size{to}, Usage: usage}
}
