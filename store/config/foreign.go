package config

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"castar/store"
)

// foreign has the methods of directory services that only other programs can read. A composition file may name them, and
// castar reads the blobs beside them. Every use of their directories is an error.
type foreign struct{ single }

func (foreign) setURL(string, string) error { return nil }
func (foreign) fits(t table) bool           { return t == tableDirectories }

// redbKind is a database of tvix and snix.
type redbKind struct {
	foreign
	IsTemporary bool   `toml:"is_temporary"`
	Path        string `toml:"path"`
	CacheSize   int64  `toml:"cache_size"`
	ReadOnly    bool   `toml:"read_only"`
}

func (k *redbKind) detail() string { return unreadable(k.Path) }
func (k *redbKind) refusal() error { return refusal("redb") }

func (k *redbKind) open(context.Context, Options, []*store.Store) (*store.Store, error) {
	return refusing("redb", k.Path), nil
}

// sledKind is a database of tvix until October 2024.
type sledKind struct {
	foreign
	IsTemporary bool   `toml:"is_temporary"`
	Path        string `toml:"path"`
}

func (k *sledKind) detail() string { return unreadable(k.Path) }
func (k *sledKind) refusal() error { return refusal("sled") }

func (k *sledKind) open(context.Context, Options, []*store.Store) (*store.Store, error) {
	return refusing("sled", k.Path), nil
}

// refusal is the error of every use of the directories.
func refusal(kind string) error {
	return fmt.Errorf("%s: %w, because there is no library for it: serve it with the program that made it, and use grpc+http://host:port",
		kind, store.ErrUnsupported)
}

func unreadable(path string) string {
	return strings.TrimSpace(path + " (only its own programs read it)")
}

// refusing returns a store whose directories are refused. It need not exist.
func refusing(kind, path string) *store.Store {
	r := refused{refusal(kind)}
	return &store.Store{ID: hashedID(kind, path), Directories: r, Barrier: r}
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
