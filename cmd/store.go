package cmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"castar/ingest"
	"castar/store"
	"castar/store/config"
	"castar/store/tree"
)

// packedFormat is the newest format of packed stores that this program knows; a test compares it with a new store.
const packedFormat = 1

// defaultStoreText says in the help where the store is when nobody says.
const defaultStoreText = "$CASTAR_STORE, otherwise $XDG_DATA_HOME/castar"

// openMode is what a command will do with a store.
type openMode int

const (
	forRead   openMode = iota
	forWrite           // it must exist
	forIngest          // it is made where there is none
)

// openStore opens the store that the flags and the environment name.
func (e *env) openStore(ctx context.Context, mode openMode) (*store.Store, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	return config.Open(ctx, spec, config.Options{Create: mode == forIngest, ReadOnly: mode == forRead})
}

// openPatient is openStore for commands that are run when nobody watches: it waits while another process has the store
// for itself, and says so.
func (e *env) openPatient(ctx context.Context, command string, mode openMode) (*store.Store, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	o := config.Options{Create: mode == forIngest, ReadOnly: mode == forRead, Wait: -1}
	o.OnWait = func() { e.note(command, "waiting for another process, which has the store for itself") }
	return config.Open(ctx, spec, o)
}

// openAlone opens the store for this process and no other.
func (e *env) openAlone(ctx context.Context, o config.Options) (*store.Store, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	o.Exclusive = true
	st, err := config.Open(ctx, spec, o)
	if errors.Is(err, store.ErrLocked) {
		err = &failure{err: err, status: statusLocked, hint: "--wait lets the other process end first"}
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

// defaultStore returns the folder of the default store, as the XDG Base Directory Specification has it, by which a path
// that is not absolute counts as none.
func defaultStore() (string, error) {
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "castar"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &failure{err: errors.New("no default store: neither XDG_DATA_HOME nor HOME is set"), status: statusFailed,
			hint: "name one with -s or CASTAR_STORE"}
	}
	return filepath.Join(home, ".local", "share", "castar"), nil
}

// openCache opens what is remembered of earlier ingests of source, an absolute path, into st.
func openCache(st *store.Store, source string) (*ingest.Cache, error) {
	dir, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	return ingest.OpenCache(dir, st.ID, source)
}

// saveCache keeps what a command has learnt of files, however it ends: the next one need not read them again.
func (e *env) saveCache(command string, c *ingest.Cache) {
	if err := errors.Join(c.Save(), c.Close()); err != nil {
		e.warn(command, "cache: "+err.Error())
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
	if store.IsNotFound(err) {
		err = &failure{err: err, status: statusNotFound, hint: "'castar tag' and 'castar log' list what there is"}
	}
	return r, err
}

// withRef runs do with the store, opened to be read, and what ref means in it.
func (e *env) withRef(ctx context.Context, ref string, do func(*store.Store, tree.Ref) error) error {
	st, err := e.openStore(ctx, forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	r, err := resolveRef(ctx, st, ref)
	if err != nil {
		return err
	}
	return do(st, r)
}
