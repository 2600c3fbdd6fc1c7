package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"castar/ingest"
	"castar/store"
	"castar/store/config"
	"castar/store/tree"

	"github.com/urfave/cli/v2"
)

// packedFormat is the newest format of packed stores that this program knows. A test compares it with a new store.
const packedFormat = 1

// defaultStoreText says in the help where the default store is.
const defaultStoreText = "$CASTAR_STORE, or $XDG_DATA_HOME/castar"

// openMode is what a command will do with a store.
type openMode int

const (
	forRead   openMode = iota
	forWrite           // it must exist
	forIngest          // it is made if it does not exist
)

func (m openMode) options() config.Options {
	return config.Options{Create: m == forIngest, ReadOnly: m == forRead}
}

// open opens the store that spec names or, if spec is "", that the flags and the environment name.
func (e *env) open(ctx context.Context, spec string, o config.Options) (st *store.Store, err error) {
	if spec == "" {
		o.Parents = o.Parents || e.store == "" // nobody need make ~/.local/share
		if spec, err = e.storeSpec(); err != nil {
			return nil, err
		}
	}
	return config.Open(ctx, spec, e.storeOptions(o))
}

// storeOptions returns o, so that a store that is made is mentioned, and found again only on the file system where it was, what
// buckets hold is kept in the cache, and traffic is counted and limited.
func (e *env) storeOptions(o config.Options) config.Options {
	o.OnMade = func(folder string) { e.note("made a new store at " + quote(folder)) }
	if dir, err := cacheFolder(); err == nil {
		o.MountsDir, o.Cache = dir, filepath.Join(dir, "buckets")
	}
	return e.traffic.metered(o)
}

// patient returns o for commands that run unattended: if another process has locked the store, the command says so and
// waits.
func (e *env) patient(o config.Options) config.Options {
	o.Wait, o.OnWait = -1, func() { e.note("waiting for another process, which has locked the store") }
	return o
}

// openStore opens the store. It fails if another process has locked it.
func (e *env) openStore(ctx context.Context, mode openMode) (*store.Store, error) {
	return e.open(ctx, "", mode.options())
}

// openPatient opens the store, and waits for a process that has locked it.
func (e *env) openPatient(ctx context.Context, mode openMode) (*store.Store, error) {
	return e.open(ctx, "", e.patient(mode.options()))
}

func (e *env) openAlone(ctx context.Context, o config.Options) (*store.Store, error) {
	o.Exclusive = true
	st, err := e.open(ctx, "", o)
	if errors.Is(err, store.ErrLocked) {
		err = hinted(err, "--wait lets the other process finish first")
	}
	return st, err
}

// storeSpec returns what names the store, as package config takes it.
func (e *env) storeSpec() (string, error) {
	if e.store != "" {
		return e.store, nil
	}
	return defaultStore()
}

// defaultStore returns the folder of the default store by the XDG Base Directory Specification, which ignores paths that
// are not absolute.
func defaultStore() (string, error) {
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "castar"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hinted(errors.New("no default store: neither XDG_DATA_HOME nor HOME is set"), "name one with -s or CASTAR_STORE")
	}
	return filepath.Join(home, ".local", "share", "castar"), nil
}

// openCache opens what is remembered of earlier ingests of source, an absolute path, into st. If it cannot, it warns
// and returns nil: the command is then slower, but just as correct.
func (e *env) openCache(st *store.Store, source string) *ingest.Cache {
	dir, err := cacheFolder()
	if err == nil {
		var c *ingest.Cache
		if c, err = ingest.OpenCache(dir, st.ID, source); err == nil {
			return c
		}
	}
	e.warn("cache: " + err.Error())
	return nil
}

// saveCache keeps what a command has learnt about files, even if it failed: the next one need not read them again.
func (e *env) saveCache(c *ingest.Cache) {
	if err := errors.Join(c.Save(), c.Close()); err != nil {
		e.warn("cache: " + err.Error())
	}
}

// resolve finds the root, or the node inside it, that ref means.
func resolve(ctx context.Context, st *store.Store, ref string) (store.Node, error) {
	r, err := resolveRef(ctx, st, ref)
	r.Node.Name = "" // a root has none
	return r.Node, err
}

// resolveRef finds the root and the node inside it that ref means.
func resolveRef(ctx context.Context, st *store.Store, ref string) (tree.Ref, error) {
	r, err := tree.Resolve(ctx, st, ref)
	return r, explainRef(ctx, st, ref, err)
}

// explainRef returns the error of a reference, with a hint at what it may have meant.
func explainRef(ctx context.Context, st *store.Store, ref string, err error) error {
	if hint := suggestRoot(ctx, st, ref, err); hint != "" {
		return &failure{err: err, status: statusNotFound, hint: hint}
	}
	return hintAtRoots(err)
}

func rootsOf(ctx context.Context, st *store.Store, refs []string) ([]tree.Root, error) {
	roots := make([]tree.Root, len(refs))
	for i, ref := range refs {
		node, err := resolve(ctx, st, ref)
		if err != nil {
			return nil, err
		}
		roots[i] = tree.Root{Name: ref, Node: node}
	}
	return roots, nil
}

// readTags returns all tags, and why others cannot be read.
func readTags(ctx context.Context, st *store.Store) (tags []store.Tag, unread []error) {
	for t, err := range st.Tags.All(ctx) {
		if err != nil {
			unread = append(unread, err)
		} else {
			tags = append(tags, t)
		}
	}
	return tags, unread
}

// tagsOf returns all tags. It names on stderr those that cannot be read; damaged says that there are some. The error is of
// the server.
func (e *env) tagsOf(ctx context.Context, st *store.Store) (tags []store.Tag, damaged bool, err error) {
	tags, unread := readTags(ctx, st)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	return tags, len(unread) > 0, e.warnUnread(unread)
}

// hintAtRoots returns the error of a reference to a root, with a hint if no such root exists.
func hintAtRoots(err error) error {
	if !store.IsNotFound(err) {
		return err
	}
	return &failure{err: err, status: statusNotFound, hint: "'castar tag' and 'castar log' list the roots"}
}

// withStore runs do with the store, and then closes it.
func (e *env) withStore(ctx context.Context, mode openMode, do func(*store.Store) error) error {
	st, err := e.openStore(ctx, mode)
	if err != nil {
		return err
	}
	defer st.Close()
	return do(st)
}

// withTags is withStore for a store that must have tags. What a server lacks shows when do asks for it.
func (e *env) withTags(ctx context.Context, mode openMode, do func(*store.Store) error) error {
	return e.withStore(ctx, mode, func(st *store.Store) error {
		if st.Tags == nil {
			return fmt.Errorf("tags: %w", store.ErrUnsupported)
		}
		return do(st)
	})
}

func needTags(ctx context.Context, st *store.Store) error {
	has, err := st.HasTags(ctx)
	if err == nil && !has {
		err = fmt.Errorf("tags: %w", store.ErrUnsupported)
	}
	return err
}

// withRef runs do with the store, opened to be read, and what ref means in it.
func (e *env) withRef(ctx context.Context, ref string, do func(*store.Store, tree.Ref) error) error {
	return e.withStore(ctx, forRead, func(st *store.Store) error {
		r, err := resolveRef(ctx, st, ref)
		if err != nil {
			return err
		}
		return do(st, r)
	})
}

// withOneRef is withRef for a command that takes one ROOT and nothing else.
func (e *env) withOneRef(c *cli.Context, do func(*store.Store, tree.Ref) error) error {
	if c.NArg() != 1 {
		return usagef("want one ROOT, got %s", plural(uint64(c.NArg()), "argument"))
	}
	return e.withRef(c.Context, c.Args().First(), do)
}

// sizeRule returns the rule that was given, or else the rule of the store. A dry run, whose st is nil, asks the store that
// would be used, if it exists.
func (e *env) sizeRule(ctx context.Context, f *ingestFlags, st *store.Store) (store.SizeRule, error) {
	switch {
	case f.rule != nil:
		return *f.rule, nil
	case st != nil:
		return st.SizeRule, nil
	}
	spec, err := e.storeSpec()
	if err != nil {
		return store.SizeDocumented, nil
	}
	rule, err := config.SizeRule(ctx, spec, e.storeOptions(config.Options{}))
	if errors.Is(err, store.ErrNoStore) {
		return store.SizeDocumented, nil
	}
	if err != nil {
		err = hinted(err, "with --size-rule, the store is not needed")
	}
	return rule, err
}

// explainRefusal returns the error of an ingest or a copy with a rule, or nil for that of the trees. If a server counts sizes by another rule, it blames some
// directory; any other would fail too, so the directory is not worth naming.
func explainRefusal(err error, rule *store.SizeRule) error {
	refused, ok := errors.AsType[*store.SizeRuleError](err)
	if !ok || rule != nil && *rule == store.SizeSnix {
		return err
	}
	return hinted(refused, "--size-rule snix counts sizes of directories as tvix and snix do")
}
