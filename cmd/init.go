package cmd

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
)

const initHelp = `
Makes a packed store in a new or empty folder. It is an error if there is a store already. An ingest makes a store where
there is none, so this is needed only for a store that is to be set up in another way.

--size-rule says by which rule directories count their size in trees that are ingested into the store; 'castar ingest
--help' tells what that means. It is written in the store, and every ingest follows it unless its own --size-rule says
otherwise. A program that does not know about it refuses a store with the rule snix.

Other kinds of store are made by what is put into them, and keep nothing about themselves. They take the rule as a
parameter, such as objectstore+file:/path?size_rule=snix, or as size_rule in a composition file.

With --json, one object: store, size_rule.

Examples:
  castar init -s /mnt/backup
  castar init -s ~/shared --size-rule snix          # for trees that tvix or snix take, too`

func (e *env) initCommand() *cli.Command {
	var rule string
	return &cli.Command{
		Name:        "init",
		Usage:       "make a store",
		UsageText:   "castar init [flags]",
		Description: initHelp,
		Flags: []cli.Flag{&cli.StringFlag{Name: "size-rule", Destination: &rule, DefaultText: "documented",
			Usage: "`RULE` by which directories count their size: documented, or snix as tvix and snix do"}},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("init", "want no arguments, got %d; -s names the store", c.NArg())
			}
			chosen, err := parseRule("init", rule)
			if err != nil {
				return err
			}
			return e.init(c.Context, chosen)
		},
	}
}

// parseRule returns the value of --size-rule, or nil where the flag is not given.
func parseRule(command, text string) (*store.SizeRule, error) {
	if text == "" {
		return nil, nil
	}
	rule, err := store.ParseSizeRule(text)
	if err != nil {
		return nil, usagef(command, "%w", err)
	}
	return &rule, nil
}

// jsonInit is what castar init --json prints.
type jsonInit struct {
	Store    string `json:"store"`     // as it was named
	SizeRule string `json:"size_rule"` // documented or snix
}

// init makes the store.
func (e *env) init(ctx context.Context, rule *store.SizeRule) error {
	spec, err := e.storeSpec()
	if err != nil {
		return err
	}
	err = config.Init(ctx, spec, rule)
	if errors.Is(err, store.ErrUnsupported) {
		return &failure{err: err, status: statusFailed, hint: "other kinds take the rule as a parameter: see 'castar config --help'"}
	}
	if err != nil || !e.json {
		return err
	}
	of, err := config.SizeRule(spec)
	if err != nil {
		return err
	}
	e.stdout.json(jsonInit{spec, of.String()})
	return nil
}
