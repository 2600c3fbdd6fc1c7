package cmd

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
)

const verifyHelp = `
Checks the whole store, or what each ROOT reaches, and says of each of these claims whether it holds. Of a store that is
not a packed one only what its tags or the ROOTs reach is checked, so that it needs one of these.

  objects     every stored object hashes to its name
  references  all that the trees refer to is there, and none has more than 8192 directories below each other
  sizes       every size is what it says
  chunks      every file that is stored in chunks, put together, hashes to its name
  files       the store's own files are whole

All damage is listed: what and where it is, the paths that are hit in every tag (or ROOT), and what to do. Damaged
objects are recorded as such in the store, unless --dry-run is given, so that a later ingest that meets the same
contents stores them again. What verify finds whole again is recorded no more. With -v, what is odd but harmless is
listed too.

Other processes may use the store meanwhile. A gc waits.

--structure reads no contents of files. --sample reads a part of them, 5% or 1/20, each time the next one, so that
twenty runs have read everything. --max-duration stops reading them after such a time, like 90s or 10m, and the next run
with it goes on there. Directories and the store's own records are always checked in full.

With --json, one object a line, whose type is
  progress  once a second: bytes, total (so far), objects, damaged
  finding   what (config, index, pack, frame, tag, log, state, unknown, object, missing, size, assembly, unreadable or
            depth),
            claim, harmless, kind (directory or blob) and digest if an object is damaged, blobs (the files in chunks
            that are lost with it), where, reason, advice, and hits: roots, paths (each path, and path_base64 if it is
            not UTF-8; an empty one is the root itself), more (how many other paths), at_least (more is a lower bound)
  summary   claims (how many findings against each), harmless_findings, roots, directories, files, objects,
            bytes (read), assembled, recorded, released, not_recorded (why not), part, parts, resumed, stopped, seconds

Exit status 0: no damage; 3: damage was found; 1: it could not finish.

Examples:
  castar verify                          # everything
  castar verify --sample 5% -q           # every night: all of it in twenty
  castar verify src:doc                  # what one tree, or a part of it, reaches`

// verifyFlags is what was typed after castar verify.
type verifyFlags struct {
	sample   string
	duration time.Duration
	options  tree.VerifyOptions
}

func (e *env) verifyCommand() *cli.Command {
	var f verifyFlags
	return &cli.Command{
		Name:        "verify",
		Aliases:     []string{"check", "fsck"},
		Usage:       "check that what is stored is whole",
		UsageText:   "castar verify [flags] [ROOT[:path]...]",
		Description: verifyHelp,
		Flags: []cli.Flag{
			boolFlag("structure", "", &f.options.Structure, "read no contents of files"),
			&cli.StringFlag{Name: "sample", Destination: &f.sample, Usage: "read `PART` of the contents of files, such as 5% or 1/20, the next time another"},
			durationFlag("max-duration", &f.duration, "no limit",
				"stop reading contents after `DURATION`, such as 10m, and go on there the next time"),
			boolFlag("dry-run", "n", &f.options.NoRecord, "write nothing into the store"),
		},
		Action: func(c *cli.Context) error {
			if err := f.check(c); err != nil {
				return err
			}
			return e.verify(c.Context, &f, c.Args().Slice())
		},
	}
}

// check finds mistakes before anything is read, and completes the options.
func (f *verifyFlags) check(c *cli.Context) (err error) {
	limits := 0
	for _, name := range []string{"structure", "sample", "max-duration"} {
		if c.IsSet(name) {
			limits++
		}
	}
	switch {
	case limits > 1:
		return usagef("verify", "--structure, --sample and --max-duration exclude each other")
	case c.IsSet("max-duration") && f.duration <= 0:
		return usagef("verify", "--max-duration must be longer than nothing")
	case c.IsSet("max-duration") && c.Args().Present():
		return usagef("verify", "--max-duration is for the whole store, without a ROOT")
	}
	f.options.MaxDuration = f.duration
	if f.sample != "" {
		f.options.Parts, err = parseSample(f.sample)
	}
	return err
}

// maxParts bounds --sample: what is less than a millionth is a mistake.
const maxParts = 1_000_000

// parseSample returns how many parts there are when one of them is to be as large as s says, or a little larger.
func parseSample(s string) (parts int, err error) {
	number, over, ratio := strings.Cut(s, "/")
	percent, isPercent := strings.CutSuffix(s, "%")
	a, b := 0.0, 100.0
	switch {
	case isPercent:
		a, err = strconv.ParseFloat(percent, 64)
	case ratio:
		if a, err = strconv.ParseFloat(number, 64); err == nil {
			b, err = strconv.ParseFloat(over, 64)
		}
	default:
		err = strconv.ErrSyntax
	}
	if err != nil || !(a > 0) || !(b >= a) || !(b/a <= maxParts) {
		return 0, usagef("verify", "invalid value %s for --sample: want a part such as 5%% or 1/20", quote(s))
	}
	return int(b / a), nil
}

// verify checks the store or some roots in it.
func (e *env) verify(ctx context.Context, f *verifyFlags, refs []string) error {
	st, err := e.openDamaged(ctx, "verify", f.options.NoRecord)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, ref := range refs {
		node, err := resolveDamaged(ctx, st, ref)
		if err != nil {
			return err
		}
		f.options.Roots = append(f.options.Roots, tree.Root{Name: ref, Node: node})
	}
	f.options.Progress = &store.ScrubProgress{}
	out := &verified{env: e, foreign: st.Scrubber == nil, options: &f.options}
	began := time.Now()
	stop := out.progress(f.options.Progress)
	result, err := tree.Verify(ctx, st, f.options, out.finding)
	stop()
	if err != nil {
		return err
	}
	return out.summary(result, time.Since(began))
}

// openDamaged opens the store as far as it goes, and for writing if that is allowed.
func (e *env) openDamaged(ctx context.Context, command string, readOnly bool) (*store.Store, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	o := config.Options{ReadOnly: readOnly, Tolerate: true, Wait: -1}
	o.OnWait = func() { e.note(command, "waiting for another process, which has the store for itself") }
	st, err := config.Open(ctx, spec, o)
	if !readOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		o.ReadOnly = true
		st, err = config.Open(ctx, spec, o)
	}
	return st, err
}

// resolveDamaged is resolve, but it finds a root directory also if that is damaged.
func resolveDamaged(ctx context.Context, st *store.Store, ref string) (store.Node, error) {
	node, err := resolve(ctx, st, ref)
	if damage, ok := errors.AsType[*store.CorruptError](err); ok {
		d, perr := store.ParseDigest(ref)
		if store.IsDigestPrefix(ref) && strings.HasPrefix(damage.Digest.String(), strings.ToLower(ref)) {
			d, perr = damage.Digest, nil
		}
		if perr == nil {
			if _, gerr := st.Directories.Get(ctx, d); !store.IsNotFound(gerr) {
				return store.Node{Kind: store.KindDirectory, Digest: d, Size: maxDirectorySize}, nil
			}
		}
	}
	return node, err
}

// maxDirectorySize is recorded for a directory that nobody could read: too large a size does no harm.
const maxDirectorySize = 1<<64 - 1
