package config

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"castar/store"
)

// foreign is a directory service that only other programs can read. A composition file may name it, and castar reads the
// blobs beside it. Every use of its directories is an error.
type foreign struct {
	single
	name        string
	IsTemporary bool   `toml:"is_temporary"`
	Path        string `toml:"path"`
}

// redbKind is a database of tvix and snix.
type redbKind struct {
	foreign
	CacheSize int64 `toml:"cache_size"`
	ReadOnly  bool  `toml:"read_only"`
}

func (k *foreign) setURL(string, string) error { return nil }
func (k *foreign) fits(t table) bool           { return t == tableDirectories }
func (k *foreign) detail() string {
	return strings.TrimSpace(k.Path + " (only its own programs read it)")
}

// refusal is the error of every use of the directories.
func (k *foreign) refusal() error {
	return fmt.Errorf("%s: %w, because there is no library for it: "+
		"serve it with the program that made it, and use grpc+http://host:port", k.name, store.ErrUnsupported)
}

// open returns a store whose directories are refused. It need not exist.
func (k *foreign) open(context.Context, Options, []*store.Store) (*store.Store, error) {
	r := refused{k.refusal()}
	return &store.Store{ID: hashedID(k.name, k.Path), Directories: r, Barrier: r}, nil
}

// refused implements store.Directories, and a store.Barrier that has nothing to do.
type refused struct{ err error }

func (r refused) Get(context.Context, store.Digest) (store.Directory, error) { return nil, r.err }
func (r refused) Put(context.Context, store.Directory) (store.Digest, error) {
	return store.Digest{}, r.err
}
func (r refused) Upload(context.Context) (store.DirectoryWriter, error) { return nil, r.err }
func (r refused) Sync(context.Context) error                            { return nil }
func (r refused) Close() error                                          { return nil }
func (r refused) Walk(context.Context, store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) { yield(store.NamedDirectory{}, r.err) }
}
