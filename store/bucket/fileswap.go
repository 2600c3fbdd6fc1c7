package bucket

import (
	"context"
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
	lock, err := f.waitForLock(ctx, f.swapFile(), true, 0, 2*time.Millisecond) // held for the time of a few syncs
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
