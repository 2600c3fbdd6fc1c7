package objects

import (
	"context"
	"errors"
	"sync"

	"castar/store"
)

// upload implements store.DirectoryWriter. It keeps all messages until Commit, because the root comes last and is stored
// first.
type upload struct {
	ds *directories

	mu      sync.Mutex
	members map[store.Digest]member // nil after Commit and Close
}

// Upload implements store.Directories. The batch keeps its directories in memory until it ends.
func (ds *directories) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	if err := errors.Join(ctx.Err(), ds.q.writable()); err != nil {
		return nil, err
	}
	return &upload{ds: ds, members: map[store.Digest]member{}}, nil
}

var errBatchEnded = errors.New("batch of directories has ended")

func (u *upload) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := errors.Join(ctx.Err(), u.ds.q.writable()); err != nil {
		return store.Digest{}, err
	}
	d, m, err := newMember(dir)
	if err != nil {
		return store.Digest{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.members == nil {
		return store.Digest{}, errBatchEnded
	}
	u.members[d] = m
	return d, nil
}

// Commit stores the closure. The error is store.ErrNotFound if a child was not put.
func (u *upload) Commit(ctx context.Context, root store.Digest) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.members == nil {
		return errBatchEnded
	}
	err := u.ds.store(ctx, root, u.members)
	if err == nil {
		u.members = nil
	}
	return err
}

func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.members = nil
	return nil
}
