package cmd

import (
	"cmp"
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/chunk"
	"castar/store/config"
	"castar/store/zstd"
)

const initHelp = `
Makes a packed store in a new or empty folder. It is an error if there is a store already. Ingest makes a store if there
is none. You need init only to choose other settings, or to make the directories above the store (--parents). Ingest
does not make those, because the path may be a typo, or on a disk that is not mounted. Ingest also refuses to make a
store where one was before if another file system is mounted there now. init does not.

--chunk-size sets how long chunks of files are on average: 512 to 2M, 256K by default. Only files of half that size and
more are cut. Shorter chunks find more equal parts in changed files, but there are more of them, and each costs time and
space. Digests of files do not depend on it. --compression sets how hard the store compresses what is put into it. On
the source code of Go, default, better and best take 1.6, 4 and 10 times the processor time of fastest, and save 9%, 16%
and 18% of the space. Reading takes the same time. The store keeps both settings.

--size-rule sets the rule by which directories count their size in trees that are ingested into the store: see 'castar
ingest --help'. The store keeps the rule, and every ingest follows it unless its own --size-rule says otherwise. A
castar that does not know the rule snix refuses such a store.

Other kinds of store need no init and keep no settings. They take the rule as a parameter, such as
objectstore+file:/path?size_rule=snix, or as size_rule in a composition file.

Examples:
  castar init -s /mnt/backup
  castar init -s /mnt/backup/a/b --parents --compression better
  castar init -s ~/shared --size-rule snix          # to share with tvix or snix`

func (e *env) initCommand() *cli.Command {
	var s config.Settings
	var parents bool
	return &cli.Command{
		Name:        "init",
		Usage:       "make a store",
		UsageText:   "castar init [flags]",
		Description: withJSON(initHelp, "there is one object", jsonInit{}),
		Flags: []cli.Flag{
			boolFlag("parents", "p", &parents, "make the directories above the store too"),
			chunkSizeFlag(&s.ChunkSize),
			choiceFlag("compression", &s.Compression, zstd.Fastest, "compress by `LEVEL`: fastest, default, better or best", zstd.Levels()...),
			ruleFlag(&s.Rule, "documented", ""),
		},
		Action: func(c *cli.Context) error { return e.init(c.Context, s, parents) },
	}
}

// jsonInit is what castar init --json prints.
type jsonInit struct {
	Store    string `json:"store" help:"as it was named"`
	SizeRule string `json:"size_rule"`

	ChunkSize   int    `json:"chunk_size" help:"bytes on average"`
	Compression string `json:"compression"`
}

func (jsonInit) lineType() string { return "store" }

func (e *env) init(ctx context.Context, s config.Settings, parents bool) error {
	spec, err := e.storeSpec()
	if err != nil {
		return err
	}
	o := e.storeOptions(config.Options{Parents: parents || e.store == ""})
	o.OnMade = nil // that is what was asked for
	err = config.Init(ctx, spec, s, o)
	if errors.Is(err, store.ErrUnsupported) {
		return hinted(err, "other kinds of store take the rule as a parameter: see 'castar config --help'")
	}
	if err != nil || !e.json {
		return err
	}
	of, err := config.SizeRule(ctx, spec, o)
	if err != nil {
		return err
	}
	e.stdout.json(jsonInit{spec, of.String(), cmp.Or(s.ChunkSize, chunk.Default().Avg), cmp.Or(s.Compression, zstd.Fastest)})
	return nil
}

func chunkSizeFlag(to *int) cli.Flag {
	f := bytesFlag("chunk-size", to, "256K", "cut files into chunks of `SIZE` bytes on average, such as 64K or 1M")
	set := f.set
	f.set = func(value string) error {
		err := set(value)
		if err == nil {
			_, err = chunk.ParamsFor(*to)
		}
		return err
	}
	return f
}
