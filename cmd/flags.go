package cmd

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
)

// parsedFlag is a flag whose value is parsed here. Package cli's own flags cut lists at commas and trim spaces, and say no
// more than "parse error" about a bad value.
type parsedFlag struct {
	name, short string // short may be ""
	usage       string
	initial     string // the default, for the help
	category    string
	values      []string // all that there are, or nil
	alone       bool     // it needs no value
	many        bool     // it may be repeated
	set         func(value string) error
	err         error // what set returned last
}

// Apply implements cli.Flag. It knows only the long name, because commandLine.words uses no other.
func (f *parsedFlag) Apply(s *flag.FlagSet) error {
	s.Func(f.name, "", func(value string) error {
		f.err = f.set(value)
		return f.err
	})
	return nil
}

// Names implements cli.Flag.
func (f *parsedFlag) Names() []string {
	if f.short == "" {
		return []string{f.name}
	}
	return []string{f.name, f.short}
}

// The rest of cli.Flag, cli.DocGenerationFlag and cli.CategorizableFlag.

func (f *parsedFlag) String() string         { return "--" + f.name }
func (f *parsedFlag) IsSet() bool            { return false } // cli.Context.IsSet asks the flag set first
func (f *parsedFlag) TakesValue() bool       { return !f.alone }
func (f *parsedFlag) GetUsage() string       { return f.usage }
func (f *parsedFlag) GetValue() string       { return "" }
func (f *parsedFlag) GetDefaultText() string { return f.initial }
func (f *parsedFlag) GetEnvVars() []string   { return nil }
func (f *parsedFlag) IsVisible() bool        { return true }
func (f *parsedFlag) GetCategory() string    { return f.category }
func (f *parsedFlag) IsSliceFlag() bool      { return f.many }

// in puts the flag into a category of the help.
func (f *parsedFlag) in(category string) *parsedFlag {
	f.category = category
	return f
}

// flagError returns what is wrong with the flags of a command; err is the error of package cli.
func flagError(c *cli.Command, err error) error {
	for _, f := range c.Flags {
		if p, ok := f.(*parsedFlag); ok && p.err != nil {
			return usagef(c.Name, "--%s: %w", p.name, p.err)
		}
	}
	return usagef(c.Name, "%w", err)
}

// wanted says what value a flag wants: in the words of its error, or else by the name that its usage gives the value.
func wanted(f cli.Flag) string {
	if p, ok := f.(*parsedFlag); ok {
		if err := p.set(""); err != nil {
			return strings.TrimSuffix(err.Error(), `, not ""`)
		}
	}
	return "want " + valueName(f)
}

// valueName returns the word in backquotes in the usage of a flag, which names its value, or "".
func valueName(f cli.Flag) string {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		if parts := strings.Split(d.GetUsage(), "`"); len(parts) > 1 {
			return parts[1]
		}
	}
	return ""
}

// count returns how many of the flags are set.
func count(flags ...bool) (n int) {
	for _, set := range flags {
		if set {
			n++
		}
	}
	return n
}

// unwanted is the error for a value that a flag does not take; why is the error of package strconv, or nil.
func unwanted(value, want string, why error) error {
	if errors.Is(why, strconv.ErrRange) {
		return fmt.Errorf("%s is too large", value)
	}
	return fmt.Errorf("want %s, not %q", want, value)
}

// boolFlag returns a flag without a value. The short form may be "".
func boolFlag(name, short string, to *bool, usage string) *parsedFlag {
	return &parsedFlag{name: name, short: short, usage: usage, alone: true, set: func(value string) (err error) {
		if *to, err = strconv.ParseBool(value); err != nil {
			return unwanted(value, "true or false", nil)
		}
		return nil
	}}
}

// listFlag returns a flag that may be repeated. Each value is one item, with its commas and spaces.
func listFlag(name, short string, to *[]string, usage string) cli.Flag {
	return &parsedFlag{name: name, short: short, usage: usage + "; may be repeated", many: true, set: func(value string) error {
		*to = append(*to, value)
		return nil
	}}
}

// numberFlag returns a flag for a whole number. initial describes the default in the help.
func numberFlag(name, short string, to *int, initial, usage string) cli.Flag {
	return rangeFlag(name, short, to, math.MinInt, math.MaxInt, initial, usage)
}

// rangeFlag returns a flag for a whole number between least and most.
func rangeFlag(name, short string, to *int, least, most int, initial, usage string) *parsedFlag {
	return &parsedFlag{name: name, short: short, usage: usage, initial: initial, set: func(value string) error {
		n, err := strconv.ParseInt(value, numberBase(value), strconv.IntSize)
		switch {
		case err != nil:
			return unwanted(value, "a whole number", err)
		case int(n) < least:
			return fmt.Errorf("%s is less than %d", value, least)
		case int(n) > most:
			return fmt.Errorf("%s is more than %d", value, most)
		}
		*to = int(n)
		return nil
	}}
}

// choiceFlag returns a flag that takes one of values. initial describes the default in the help.
func choiceFlag(name string, to *string, initial, usage string, values ...string) *parsedFlag {
	return &parsedFlag{name: name, usage: usage, initial: initial, values: values, set: func(value string) error {
		if !slices.Contains(values, value) {
			return unwanted(value, strings.Join(values[:len(values)-1], ", ")+" or "+values[len(values)-1], nil)
		}
		*to = value
		return nil
	}}
}

// ruleFlag returns --size-rule. Without the flag, *to stays nil. what says which sizes it is about.
func ruleFlag(to **store.SizeRule, initial, what string) cli.Flag {
	var text string
	f := choiceFlag("size-rule", &text, initial, "count sizes of directories"+what+" by `RULE`: documented, or snix, as tvix and snix do",
		store.SizeDocumented.String(), store.SizeSnix.String())
	check := f.set
	f.set = func(value string) error {
		if err := check(value); err != nil {
			return err
		}
		rule, err := store.ParseSizeRule(value)
		*to = &rule
		return err
	}
	return f
}

// bytesFlag returns a flag for a number of bytes. initial describes the default in the help.
func bytesFlag[N int | int64 | uint64](name string, to *N, initial, usage string) *parsedFlag {
	return &parsedFlag{name: name, usage: usage, initial: initial, set: func(value string) error {
		n, err := parseBytes(value)
		if err != nil || N(n) < 0 || uint64(N(n)) != n {
			return unwanted(value, "a number of bytes such as 4096, 64K, 256M or 1G", err)
		}
		*to = N(n)
		return nil
	}}
}

// parseBytes reads a number of bytes. A K, M, G or T after it multiplies it by 1024 once or more; KiB and the like mean
// the same.
func parseBytes(value string) (uint64, error) {
	number, shift := value, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		for _, suffix := range []string{unit + "IB", unit} {
			if n := len(value) - len(suffix); n > 0 && shift == 0 && strings.EqualFold(value[n:], suffix) {
				number, shift = value[:n], 10*(i+1)
			}
		}
	}
	n, err := strconv.ParseUint(number, numberBase(number), 64)
	if err == nil && n<<shift>>shift != n {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// numberBase returns the base for package strconv: 10 if value has only digits, even if the first is 0; otherwise a prefix
// such as 0x decides.
func numberBase(value string) int {
	if strings.Trim(value, "0123456789") == "" {
		return 10
	}
	return 0
}

// durationFlag returns a flag for a duration that is not negative. initial describes the default in the help.
func durationFlag(name string, to *time.Duration, initial, usage string) cli.Flag {
	return &parsedFlag{name: name, usage: usage, initial: initial, set: func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return unwanted(value, "a duration such as 10m", nil)
		}
		*to = d
		return nil
	}}
}

// maxJobs is more than helps anywhere, and few enough that a typo costs little memory.
const maxJobs = 1 << 16

// jobsFlag returns -j.
func jobsFlag(to *int) cli.Flag {
	return rangeFlag("jobs", "j", to, 0, maxJobs, "what suits the processors", "work on `N` files at once; the result does not depend on it")
}

// waitFlag returns --wait, for commands that lock the store.
func waitFlag(to *time.Duration) cli.Flag {
	return durationFlag("wait", to, "0s", "wait for `DURATION`, such as 90s or 1h, if another process uses the store")
}
