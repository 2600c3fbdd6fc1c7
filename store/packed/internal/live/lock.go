package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Every process that uses a store holds its lock: shared, or exclusively while it makes the store or removes files. The
// kernel releases the lock with the process, so no lock is ever stale.

// lockAndConfigure takes the lock and reads the config, and first makes the store if o asks for that.
func lockAndConfigure(ctx context.Context, fsys durable.FS, o Options) (durable.Lock, sealed.Config, error) {
	const most = 100
	for try := 1; ; try++ {
		cfg, err := sealed.ReadConfig(fsys)
		if o.Tolerate && err != nil && isStore(fsys, err) {
			cfg, err = sealed.NewConfig(o.settings()), nil
		}
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case missing && (!o.Create || o.ReadOnly || o.Tolerate):
			err = cmp.Or(CheckNothing(fsys), fmt.Errorf("%s: %w", fsys.Path("."), store.ErrNoStore))
		case missing:
			err = cmp.Or(CheckNothing(fsys), checkEmpty(fsys))
		case err == nil && o.New:
			err = errThere(fsys)
		}
		if err != nil {
			if _, cerr := sealed.ReadConfig(fsys); missing && cerr == nil {
				continue // another process has just made the store, and may have stored something
			}
			return nil, cfg, err
		}
		lock, alone, err := takeLock(ctx, fsys, o)
		if err != nil {
			return nil, cfg, err
		}
		if alone {
			cfg, err = prepare(fsys, cfg, missing, o)
			if o.Tolerate {
				err = nil
			}
			if err == nil && !o.Exclusive {
				err = lock.Shared()
			}
		}
		if err == nil && (alone || !missing) {
			return lock, cfg, nil
		}
		lock.Close()
		if err != nil && (!errors.Is(err, store.ErrLocked) || try == most) {
			return nil, cfg, err
		}
		// Another process has just made the store, or was stopped at it; or it got in between the exclusive lock and the
		// shared one.
	}
}

// settings returns those of a store that is made.
func (o Options) settings() sealed.Settings {
	return sealed.Settings{SizeRule: o.SizeRule, ChunkSize: o.ChunkSize, Compression: o.Compression}
}

// CheckNothing refuses a folder without a config that has packs, indexes or tags. A store that is being made has none.
func CheckNothing(fsys durable.FS) error {
	for _, dir := range []string{pack.Dir, index.Dir, sealed.TagsDir} {
		entries, err := fsys.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s: %w", fsys.Path("."), store.ErrNoConfig)
		}
	}
	return nil
}

// takeLock takes the lock exclusively if o asks for that or nobody else holds it, and otherwise shared.
func takeLock(ctx context.Context, fsys durable.FS, o Options) (lock durable.Lock, alone bool, err error) {
	if o.Exclusive {
		lock, err = waitForLock(ctx, fsys, true, o)
		return lock, true, err
	}
	if !o.ReadOnly {
		if lock, err = fsys.Lock(sealed.LockName, true); !errors.Is(err, store.ErrLocked) {
			return lock, true, err
		}
	}
	lock, err = waitForLock(ctx, fsys, false, o)
	return lock, false, err
}

// prepare makes the store if it is missing. As nobody else is using it, it then clears away what a process that was
// killed left behind, be it killed while it made the store.
func prepare(fsys durable.FS, cfg sealed.Config, missing bool, o Options) (sealed.Config, error) {
	if missing {
		var err error
		if cfg, err = create(fsys, o); err != nil {
			return cfg, err
		}
	}
	if o.ReadOnly {
		return cfg, nil
	}
	if _, far := fsys.(durable.Far); !far {
		// The head of a bucket that was copied here: without it, all indexes count, also when the store is copied back.
		if _, err := fsys.Stat(bucketfs.HeadName); !errors.Is(err, fs.ErrNotExist) {
			if err := fsys.Remove(bucketfs.HeadName); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return cfg, err
			}
		}
	}
	return cfg, clearTemp(fsys)
}

// waitForLock takes the lock, trying again until o.Wait has passed.
func waitForLock(ctx context.Context, fsys durable.FS, exclusive bool, o Options) (durable.Lock, error) {
	const (
		pause = 20 * time.Millisecond
		// Opening a store for writing holds it exclusively for an instant; that is not worth a word or an error.
		grace = 2 * time.Second
	)
	start := time.Now()
	told := o.OnWait == nil
	for {
		lock, err := fsys.Lock(sealed.LockName, exclusive)
		if err == nil || !errors.Is(err, store.ErrLocked) {
			return lock, err
		}
		waited := time.Since(start)
		if waited > grace && o.Wait >= 0 && waited > o.Wait {
			return nil, fmt.Errorf("%s: %w", fsys.Path("."), store.ErrLocked)
		}
		if waited > grace && !told {
			told = true
			o.OnWait()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// checkEmpty refuses to make a store in a folder that has something else in it. What an interrupted create made is fine.
func checkEmpty(fsys durable.FS) error {
	entries, err := fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case sealed.LockName, pack.Dir, index.Dir, sealed.TagsDir, pack.TempDir, sealed.QuarantineDir:
		default:
			return fmt.Errorf("%s: %w, and it is not empty: it has %q", fsys.Path("."), store.ErrNoStore, e.Name())
		}
	}
	return nil
}

// errThere is the error for a new store in the place of one that exists.
func errThere(fsys durable.FS) error {
	return fmt.Errorf("%s: a store is there already", fsys.Path("."))
}

// create makes a store, unless another process has just done so. The caller holds the lock exclusively. What could not be
// synced is taken away again: a name that is in doubt stays so, however often its folder is synced later.
func create(fsys durable.FS, o Options) (sealed.Config, error) {
	if cfg, err := sealed.ReadConfig(fsys); !errors.Is(err, fs.ErrNotExist) {
		if err == nil && o.New {
			err = errThere(fsys)
		}
		return cfg, err
	}
	// The quarantine is needed when the disk is full, which has no room for a folder.
	for _, dir := range []string{pack.Dir, index.Dir, sealed.TagsDir, pack.TempDir, sealed.QuarantineDir} {
		if err := durable.MkdirAll(fsys, dir); err != nil {
			fsys.Remove(dir)
			return sealed.Config{}, err
		}
	}
	cfg := sealed.NewConfig(o.settings())
	err := cfg.Check()
	if err != nil {
		return cfg, err
	}
	err = sealed.WriteConfig(fsys, cfg)
	if err != nil {
		fsys.Remove(sealed.ConfigName)
	}
	return cfg, err
}

// clearTemp removes the files in tmp/. The caller holds the lock exclusively, so nobody is writing them.
func clearTemp(fsys durable.FS) error {
	entries, err := fsys.ReadDir(pack.TempDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := fsys.Remove(pack.TempPath(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isStore reports whether a folder is a store of this format whose config cannot be read because of err.
func isStore(fsys durable.FS, err error) bool {
	if errors.Is(err, store.ErrNewer) {
		return false
	}
	fi, err := fsys.Stat(pack.Dir)
	return err == nil && fi.IsDir()
}

// checkPacks reports why there can be no packs. An index would go on to say what is in them.
func checkPacks(fsys durable.FS) error {
	fi, err := fsys.Stat(pack.Dir)
	if err == nil && !fi.IsDir() { // a symbolic link may lead to a folder of the store
		_, err = fsys.ReadDir(pack.Dir)
	}
	return err
}
