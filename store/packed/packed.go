// Package packed is the store on local disk or in a bucket. It compresses small objects together in frames, appends frames to packs, and
// writes immutable indexes that say where each object is. FORMAT.md specifies the bytes.
//
// A blob is stored in these steps. The packages pack and index have the types and functions for them:
//
//	Put → chunks → session → pack.Group → pack.Writer → pack in tmp/
//	Sync → pack.Writer.Publish → index.Write → rename into index/
//
// That rename is the commit: the one point at which objects become part of the store. A blob comes out the other way:
//
//	Open → session or index.Index.Find → pack.Location → pack.Files.View → bytes, checked against their digest
//
// A caller writes this:
//
//	st, err := packed.Open(ctx, folder, packed.Options{Create: true})
//	...
//	defer st.Close()
//	d, err := st.Blobs.Put(ctx, data) // as often as there is data
//	...
//	err = st.Sync(ctx) // from now on the blobs survive a crash
//	...
//	b, err := st.Blobs.Open(ctx, d)
//	...
//	defer b.Close()
//	_, err = b.WriteTo(os.Stdout)
//
// Gc removes what neither a tag nor the log reaches. Any number of processes may read and write at once, because
// nothing in the store ever changes. Only gc and repair, which remove files, need the store to themselves. In a bucket
// not even these do.
//
// The store consists of these packages. Each imports the ones above it:
//
//	pack               packs of frames: codecs, checksums, limits
//	index              where each object is
//	internal/sealed    config, lines of tags and log, quarantine
//	internal/bucketfs  a bucket as a folder, and its head
//	internal/live      sessions, put, read, commit, tags, lock
//	internal/care      verify, gc, repair
package packed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
)

// Options says how to open a store.
type Options struct {
	Create   bool           // make the store if there is none
	New      bool           // with Create: refuse a store that exists
	SizeRule store.SizeRule // of a store that is made
	// Of a store that is made: how long chunks are on average, in bytes, and how hard to compress: fastest, default,
	// better or best. 0 and "" are the defaults.
	ChunkSize   int
	Compression string

	ReadOnly bool // never write; the store may be on a read-only file system
	// Exclusive keeps all other processes out until the store is closed. Sweep and Repair need it.
	Exclusive bool
	Wait      time.Duration // how long to wait for other processes that exclude this one; negative: forever
	OnWait    func()        // called once when waiting begins; may be nil
	// Tolerate opens a damaged store as far as possible, to examine or mend it. It leaves out an index that cannot be
	// opened, and replaces a config that is lost or damaged by that of a new store. It never makes a store.
	Tolerate bool
}

// Open opens the packed store in the folder path. The error is store.ErrNoStore if there is none, and store.ErrLocked if
// another process kept it locked for longer than o.Wait.
func Open(ctx context.Context, path string, o Options) (*store.Store, error) {
	if o.Create {
		if err := makeFolder(path); err != nil {
			return nil, err
		}
	}
	fsys, err := durable.Dir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, store.ErrNoStore)
	}
	if err != nil {
		return nil, err
	}
	st, err := openFS(ctx, fsys, o)
	if err != nil {
		fsys.Close()
		return nil, err
	}
	st.CloseFS = fsys.Close
	return bundle(st), nil
}

// SizeRule returns the rule of the packed store in the folder path, or of the one that would be made there. It opens
// nothing but the store's config.
func SizeRule(path string) (store.SizeRule, error) {
	fsys, err := durable.Dir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return store.SizeDocumented, nil
	}
	if err != nil {
		return 0, err
	}
	defer fsys.Close()
	c, err := sealed.ReadConfig(fsys)
	if errors.Is(err, fs.ErrNotExist) {
		return store.SizeDocumented, nil
	}
	return c.SizeRule, err
}

// Landmark returns what the store in the folder dir is known by: its config file, which has a random ID. The error is
// fs.ErrNotExist if dir is no store.
func Landmark(dir string) (store.Landmark, error) { return store.LandmarkOf(dir, sealed.ConfigName) }

// Exists reports whether the folder dir has a store, even one whose config is lost.
func Exists(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, sealed.ConfigName)); err == nil {
		return true
	}
	fsys, err := durable.Dir(dir)
	if err != nil {
		return false
	}
	defer fsys.Close()
	return live.CheckNothing(fsys) != nil
}

// makeFolder makes the folder of a store, and those above it, durably. It leaves the folder of a store alone.
func makeFolder(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(path, sealed.ConfigName)); err == nil {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return durable.MakeFolder(path)
	}
	if err = durable.MakeFolder(real); errors.Is(err, fs.ErrPermission) {
		return nil // the folder exists, and syncing its name takes a folder above that may be read
	}
	return err
}

// bundle returns the store as its users see it.
func bundle(st *live.Store) *store.Store {
	b, c := st.Bundle(), care.New(st)
	b.Scrubber, b.Sweeper, b.Repairer = c, c, c
	return b
}

// BucketOptions says how to open a store in a bucket. Of the Options, Wait and OnWait mean nothing there, and Exclusive
// excludes nobody: there are no locks.
type BucketOptions struct {
	Options
	// Cache is a folder on this machine for copies of what does not change, a folder in it for each store. "" is none. With
	// Tolerate it is not read, so that a check sees what the bucket has.
	Cache string
	// SingleWriter makes a store although the service does not honor conditions, so that two writers at the same time may
	// lose what one of them has stored.
	SingleWriter bool
}

// OpenBucket opens the packed store in a bucket, and closes the bucket with the store, or at once if it returns an error.
// Many processes may read and write the store at once, also while another collects garbage. The error is store.ErrNoStore if
// there is none. All that the store does ends when ctx ends.
func OpenBucket(ctx context.Context, b bucket.Bucket, o BucketOptions) (*store.Store, error) {
	fsys, err := bucketfs.Open(ctx, b, o.Cache, o.Tolerate)
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

// openFS opens or makes the store in a folder.
func openFS(ctx context.Context, fsys durable.FS, o Options) (*live.Store, error) {
	return live.Open(ctx, fsys, live.Options(o))
}
