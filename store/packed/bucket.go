package packed

import (
	"context"
	"errors"
	"io/fs"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed/internal/cloud"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
)

// BucketOptions says how to open a store in a bucket. Of the Options, Wait and OnWait mean nothing there, and Exclusive
// excludes nobody: there are no locks.
type BucketOptions struct {
	Options
	// Cache is a folder on this machine for copies of what does not change, a folder in it for each store. "" is none. With
	// Tolerate it is not read, so that a check sees what the bucket has.
	Cache string
	// SingleWriter makes a store although the service does not honour conditions, so that two writers at the same time may
	// lose what one of them has stored.
	SingleWriter bool
}

// OpenBucket opens the packed store in a bucket, and closes the bucket with the store, or at once if it returns an error.
// Many processes may read and write the store at once, also while another collects garbage. The error is store.ErrNoStore if
// there is none. All that the store does ends when ctx ends.
func OpenBucket(ctx context.Context, b bucket.Bucket, o BucketOptions) (*store.Store, error) {
	fsys, err := cloud.Open(ctx, b, o.Cache, o.Tolerate)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if o.Create && fsys.Head() == nil {
		err = fsys.Look()
		if _, serr := fsys.Stat(sealed.ConfigName); err == nil && !o.SingleWriter && errors.Is(serr, fs.ErrNotExist) {
			err = fsys.Probe()
		}
	}
	var st *live.Store
	if err == nil {
		st, err = openFS(ctx, fsys, o.Options)
	}
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	st.CloseFS = fsys.Close
	return bundle(st), nil
}
