package cmd

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
)

// parsedFlag is a flag whose value is parsed here. Package cli's own flags cut lists at commas and trim spaces, and say no
// more than "parse error" about a bad value. It has the names and texts of a flag for text.
type parsedFlag struct {
	cli.StringFlag
	values []string // all that there are, or nil
	alone  bool     // it needs no value
	many   bool     // it may be repeated
	set    func(value string) error
}

// newFlag returns a flag that sets *to to what parse returns. short may be "", initial describes the default in the help, and
// want says which values parse takes.
func newFlag[T any](name, short string, to *T, initial, usage, want string, parse func(value string) (T, error)) *parsedFlag {
	f := &parsedFlag{StringFlag: cli.StringFlag{Name: name, Usage: usage, DefaultText: initial}}
	if short != "" {
		f.Aliases = []string{short}
	}
	f.set = func(value string) error {
		v, err := parse(value)
		if err != nil {
			return unwanted(value, want, err)
		}
		*to = v
		return nil
	}
	return f
}

// errUnwanted is what parse of newFlag returns if there is no more to say than what is wanted.
var errUnwanted = errors.New("unwanted value")

// limitError is what it returns for a value of the right form. It says what is wrong after the value.
type limitError string

func (e limitError) Error() string { return string(e) }

func unwanted(value, want string, why error) error {
	if limit, ok := errors.AsType[limitError](why); ok {
		return fmt.Errorf("%s %w", value, limit)
	}
	if errors.Is(why, strconv.ErrRange) {
		return fmt.Errorf("%s is too large", value)
	}
	return fmt.Errorf("want %s, not %q", want, value)
}

// Apply implements cli.Flag. It knows only the long name, because a commandLine has no other.
func (f *parsedFlag) Apply(s *flag.FlagSet) error {
	s.Func(f.Name, "", f.set)
	return nil
}

// TakesValue implements cli.DocGenerationFlag.
func (f *parsedFlag) TakesValue() bool { return !f.alone }

// IsSliceFlag implements cli.DocGenerationSliceFlag.
func (f *parsedFlag) IsSliceFlag() bool { return f.many }

// also gives the flag another name, which the help does not show.
func (f *parsedFlag) also(name string) *parsedFlag {
	f.Aliases = append(f.Aliases, name)
	return f
}

// in puts the flag into a category of the help.
func (f *parsedFlag) in(category string) *parsedFlag {
	f.Category = category
	return f
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

// boolFlag returns a flag without a value.
func boolFlag(name, short string, to *bool, usage string) *parsedFlag {
	f := newFlag(name, short, to, "", usage, "true or false", strconv.ParseBool)
	f.alone = true
	return f
}

// listFlag returns a flag that may be repeated. Each value is one item, with its commas and spaces.
func listFlag(name, short string, to *[]string, usage string) cli.Flag {
	add := func(value string) ([]string, error) { return append(*to, value), nil }
	f := newFlag(name, short, to, "", usage+"; may be repeated", "", add)
	f.many = true
	return f
}

// rangeFlag returns a flag for a whole number between least and most.
func rangeFlag(name, short string, to *int, least, most int, initial, usage string) *parsedFlag {
	return newFlag(name, short, to, initial, usage, "a whole number", func(value string) (int, error) {
		n, err := strconv.ParseInt(value, numberBase(value), strconv.IntSize)
		switch {
		case err != nil:
		case int(n) < least:
			err = limitError(fmt.Sprint("is less than ", least))
		case int(n) > most:
			err = limitError(fmt.Sprint("is more than ", most))
		}
		return int(n), err
	})
}

// choiceFlag returns a flag that takes one of values.
func choiceFlag(name string, to *string, initial, usage string, values ...string) *parsedFlag {
	last := len(values) - 1
	want := strings.Join(values[:last], ", ") + " or " + values[last]
	f := newFlag(name, "", to, initial, usage, want, func(value string) (string, error) {
		if !slices.Contains(values, value) {
			return "", errUnwanted
		}
		return value, nil
	})
	f.values = values
	return f
}

// ruleFlag returns --size-rule. Without the flag, *to stays nil. what says which sizes it is about.
func ruleFlag(to **store.SizeRule, initial, what string) cli.Flag {
	rules := []string{store.SizeDocumented.String(), store.SizeSnix.String()}
	f := newFlag("size-rule", "", to, initial, "count sizes of directories"+what+" by `RULE`: documented, or snix, as tvix and snix do",
		strings.Join(rules, " or "), func(value string) (*store.SizeRule, error) {
			rule, err := store.ParseSizeRule(value)
			return &rule, err
		})
	f.values = rules
	return f
}

// bytesFlag returns a flag for a number of bytes.
func bytesFlag[N int | int64 | uint64](name string, to *N, initial, usage string) *parsedFlag {
	return newFlag(name, "", to, initial, usage, "a number of bytes such as 4096, 64K, 256M or 1G", func(value string) (N, error) {
		n, err := parseBytes(value)
		if err == nil && (N(n) < 0 || uint64(N(n)) != n) {
			err = errUnwanted
		}
		return N(n), err
	})
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

// durationFlag returns a flag for a duration that is not negative.
func durationFlag(name string, to *time.Duration, initial, usage string) cli.Flag {
	return newFlag(name, "", to, initial, usage, "a duration such as 10m", func(value string) (time.Duration, error) {
		d, err := time.ParseDuration(value)
		if d < 0 {
			err = errUnwanted
		}
		return d, err
	})
}

// shortDuration returns d as people type it: 24h, and not 24h0m0s.
func shortDuration(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}

// maxJobs is more than helps anywhere, and few enough that a typo costs little memory.
const maxJobs = 1 << 16

// jobsFlag returns --jobs. initial is what 0 stands for.
func jobsFlag(to *int, initial string) cli.Flag {
	return rangeFlag("jobs", "j", to, 0, maxJobs, initial, "work on `N` files at once; the result does not depend on it")
}

// waitFlag returns --wait, for commands that lock the store.
func waitFlag(to *time.Duration) cli.Flag {
	return durationFlag("wait", to, "do not wait", "wait for `DURATION`, such as 90s or 1h, if another process uses the store")
}

// modeFlag returns a flag for permission bits in octal, which must include least.
func modeFlag(name string, to *fs.FileMode, least fs.FileMode, initial, of string) cli.Flag {
	usage := "octal `MODE` of " + of + "; the umask applies"
	return newFlag(name, "", to, initial, usage, "permission bits in octal, 0001 to 0777", func(value string) (fs.FileMode, error) {
		n, err := strconv.ParseUint(value, 8, 32)
		switch {
		case err == nil && (n == 0 || n > uint64(fs.ModePerm)):
			err = errUnwanted
		case err == nil && fs.FileMode(n)&least != least:
			err = limitError("does not let the owner enter directories")
		}
		return fs.FileMode(n), err
	})
}

func nullFlag(to *bool) cli.Flag {
	return boolFlag("null", "z", to, "end lines with NUL, and print names unchanged")
}

func metadataFlag(to *string, usage string) cli.Flag {
	return choiceFlag("metadata", to, "auto", usage, "auto", "none")
}

// timeFlag returns --mtime. The zero time stands for now, and for initial, which says what holds without the flag.
func timeFlag(to *time.Time, initial string) cli.Flag {
	const want = "now, epoch or a time such as 2006-01-02T15:04:05Z"
	f := newFlag("mtime", "", to, initial, "modification `TIME` of everything: "+want, want, func(value string) (time.Time, error) {
		switch value {
		case "now":
			return time.Time{}, nil
		case "epoch":
			return time.Unix(0, 0), nil
		}
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || t.IsZero() { // the zero time means now
			err = errUnwanted
		}
		return t, err
	})
	f.values = []string{"now", "epoch"}
	return f
}
