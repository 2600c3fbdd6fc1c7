package cmd

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
)

const initHelp = `
Makes a packed store in a new or empty folder. It is an error if there is a store already. Ingest makes a store if
there is none, so init is needed only for a store with other settings.

--size-rule sets the rule by which directories count their size in trees that are ingested into the store: see 'castar
ingest --help'. The store keeps the rule, and every ingest follows it unless its own --size-rule says otherwise. A
castar that does not know the rule snix refuses such a store.

Other kinds of store need no init and keep no settings. They take the rule as a parameter, such as
objectstore+file:/path?size_rule=snix, or as size_rule in a composition file.

Examples:
  castar init -s /mnt/backup
  castar init -s ~/shared --size-rule snix          # to share with tvix or snix`

func (e *env) initCommand() *cli.Command {
	var rule *store.SizeRule
	return &cli.Command{
		Name:        "init",
		Usage:       "make a store",
		UsageText:   "castar init [flags]",
		Description: withJSON(initHelp, "there is one object", jsonInit{}),
		Flags:       []cli.Flag{ruleFlag(&rule, "documented", "")},
		Action:      func(c *cli.Context) error { return e.init(c.Context, rule) },
	}
}

// jsonInit is what castar init --json prints.
type jsonInit struct {
	Store    string `json:"store" help:"as it was named"`
	SizeRule string `json:"size_rule"`
}

// init makes the store.
func (e *env) init(ctx context.Context, rule *store.SizeRule) error {
	spec, err := e.storeSpec()
	if err != nil {
		return err
	}
	err = config.Init(ctx, spec, rule)
	if errors.Is(err, store.ErrUnsupported) {
		return &failure{err: err, status: statusFailed, hint: "other kinds of store take the rule as a parameter: see 'castar config --help'"}
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
