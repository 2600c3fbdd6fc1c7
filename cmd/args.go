package cmd

import (
	"context"
	"flag"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// commandLine is what the user typed, in parts.
type commandLine struct {
	command *cli.Command // before it was typed, one without a name that has the flags of every command
	flags   []string     // each one word, --name=value, with the long name
	args    []string     // the words that are not flags
	help    bool         // --help or -h was among the flags
	version bool         // --version was
	dash    int          // how many of args stood before a "--", or -1 if there was none
}

// run runs the command with the flags and the arguments. The environment says what flags that were not typed are.
func (l *commandLine) run(ctx context.Context, app *cli.App) error {
	set := flag.NewFlagSet(l.command.Name, flag.ContinueOnError)
	for _, f := range l.command.Flags {
		if err := f.Apply(set); err != nil {
			return err
		}
	}
	for _, word := range l.flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		if err := set.Set(name, value); err != nil {
			return usagef("--%s: %w", name, err)
		}
	}
	if err := set.Parse(append([]string{"--"}, l.args...)); err != nil {
		return err
	}
	c := cli.NewContext(app, set, &cli.Context{Context: ctx})
	c.Command = l.command
	return l.command.Action(c)
}

// parseLine parses args, the command line without the program's name. Flags may stand before and after the arguments, up
// to a "--"; flags of every command may also stand before the command. Short flags may be joined (-nq), and their values
// too (-j4). With an error, the result has everything before the mistake.
func parseLine(app *cli.App, args []string) (*commandLine, error) {
	l := &commandLine{command: &cli.Command{Flags: app.Flags}, dash: -1}
	for len(args) > 0 {
		arg := args[0]
		switch {
		case l.command.Name == "" && !isFlag(arg):
			command := app.Command(arg)
			if command == nil {
				return l, unknownCommand(app, "command", arg)
			}
			l.command, args = command, args[1:]
		case l.command.SkipFlagParsing:
			l.args, args = append(l.args, args...), nil
		case arg == "--":
			if l.command.Name == "" {
				return l, usagef("no command before --")
			}
			l.dash = len(l.args)
			l.args, args = append(l.args, args[1:]...), nil
		case !isFlag(arg):
			l.args, args = append(l.args, arg), args[1:]
		default:
			rest, err := l.takeFlag(args)
			if err != nil {
				return l, err
			}
			args = rest
		}
	}
	return l, nil
}

// asksForJSON reports whether --json is in the command line.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--" {
			break
		}
		value, ok := strings.CutPrefix(arg, "--json=")
		if on, err := strconv.ParseBool(value); arg == "--json" || ok && err == nil && on {
			return true
		}
	}
	return false
}

// isFlag reports whether arg looks like one. A lone dash is an argument, as everywhere.
func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// takeFlag takes the flag that args begins with, and its value if that is the next word. It returns what follows.
func (l *commandLine) takeFlag(args []string) ([]string, error) {
	if long, ok := strings.CutPrefix(args[0], "--"); ok {
		name, value, hasValue := strings.Cut(long, "=")
		return l.add("--"+name, name, value, hasValue, args[1:])
	}
	rest := args[1:]
	for short := args[0][1:]; short != ""; {
		_, size := utf8.DecodeRuneInString(short)
		name := short[:size]
		short = short[size:]
		flag := l.find(name)
		value, hasValue := "", false
		if flag != nil && takesValue(flag) && short != "" { // the rest of the word is its value
			value, hasValue, short = strings.TrimPrefix(short, "="), true, ""
		}
		var err error
		if rest, err = l.add("-"+name, name, value, hasValue, rest); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// add appends the flag of that name, typed as spelled, in the form that words uses.
func (l *commandLine) add(spelled, name, value string, hasValue bool, rest []string) ([]string, error) {
	flag := l.find(name)
	switch {
	case flag == nil && (name == "help" || name == "h"):
		l.help = true
		return rest, nil
	case flag == nil && name == "version" && l.command.Name == "":
		l.version = true
		return rest, nil
	case flag == nil:
		return nil, l.unknownFlag(spelled, name)
	case !hasValue && !takesValue(flag):
		value = "true"
	case !hasValue && len(rest) > 0:
		value, rest = rest[0], rest[1:]
	}
	if value == "" { // an unset "$VARIABLE" must not look like no flag
		return nil, usagef("%s needs a value: %s", spelled, wanted(flag))
	}
	word := "--" + flag.Names()[0] + "="
	if takesValue(flag) && !takesMany(flag) && slices.ContainsFunc(l.flags, func(w string) bool { return strings.HasPrefix(w, word) }) {
		return nil, usagef("--%s given twice", flag.Names()[0])
	}
	l.flags = append(l.flags, word+value)
	return rest, nil
}

// find returns the flag of that name, short or long, that may be used at this point of the line, or nil.
func (l *commandLine) find(name string) cli.Flag {
	for _, f := range l.command.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// takesMany reports whether each use of the flag adds to those before it.
func takesMany(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationSliceFlag)
	return ok && d.IsSliceFlag()
}

// unknownFlag is the error for an unknown flag. It suggests a similar one.
func (l *commandLine) unknownFlag(spelled, name string) error {
	var names []string
	for _, f := range l.command.Flags {
		names = append(names, f.Names()...)
	}
	if near := nearest(name, names); near != "" && len(name) > 1 {
		return usagef("unknown flag %s, did you mean --%s?", quote(spelled), near)
	}
	return usagef("unknown flag %s", quote(spelled))
}
