package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"castar/store"
	"castar/store/durable"
)

func (f *fileBucket) Load(ctx context.Context, name string) ([]byte, Version, error) {
	data, err := f.Get(ctx, name, 0, MaxLoad+1)
	if err != nil {
		return nil, "", err
	}
	return Loaded(f.fs.Path(name), data, versionOf(data))
}

// PutIf compares and replaces under a lock, which all processes respect.
func (f *fileBucket) PutIf(ctx context.Context, name string, data []byte, old Version) (Version, error) {
	f.begin.Do(func() { f.begun = f.prepare() })
	if f.begun != nil {
		return "", f.begun
	}
	if err := f.Sync(ctx); err != nil {
		return "", err
	}
	lock, err := f.swapLock(ctx)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	_, now, err := f.Load(ctx, name)
	if err != nil && !store.IsNotFound(err) {
		return "", err
	}
	if now != old {
		return "", fmt.Errorf("%s: %w", f.fs.Path(name), ErrChanged)
	}
	if err := durable.MkdirAll(f.fs, path.Dir(name)); err != nil {
		return "", err
	}
	if err := durable.WriteFile(f.fs, f.tmp()+"/"+durable.TempName(), name, data); err != nil {
		return "", err
	}
	return versionOf(data), nil
}

// swapLock waits for the lock of PutIf, which is held for the time of a few syncs.
func (f *fileBucket) swapLock(ctx context.Context) (durable.Lock, error) {
	for {
		lock, err := f.fs.Lock(f.swapFile(), true)
		if !errors.Is(err, store.ErrLocked) {
			return lock, err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
