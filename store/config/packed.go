package config

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"strings"

	"castar/store"
	"castar/store/bucket/service"
	"castar/store/packed"
)

// packedKind is a packed store: in a folder, which has a Path, or in a bucket, which has a URL.
type packedKind struct {
	Path string `toml:"path"`
	inBucket
	SingleWriter bool `toml:"single_writer"`
	ruled
	settings Settings // of a store that Init makes
}

// setURL takes a path as it is: a percent sign stands for itself.
func (k *packedKind) setURL(scheme, rest string) error {
	if scheme != "packed" {
		return k.inBucket.setURL(scheme, rest)
	}
	k.Path = strings.TrimPrefix(rest, "//") // no host follows
	return nil
}

func (k *packedKind) rule() *store.SizeRule { return k.ruleOr(k.URL) }

func (k *packedKind) check() error {
	switch {
	case k.Path == "" && k.URL == "":
		return errors.New("no path")
	case k.Path != "" && k.URL != "":
		return errors.New("both path and object_store_url")
	case k.URL == "" && (k.Settings != nil || k.SingleWriter):
		return errors.New("object_store_options and single_writer are for a store with an object_store_url")
	case k.URL == "":
		return nil
	}
	rest, err := k.checkURL("packed")
	if err == nil {
		_, _, err = k.locate(rest)
	}
	return err
}

// locate returns where the bucket is, and whether it has a single writer. rest is the URL without a size rule.
func (k *packedKind) locate(rest string) (l service.Location, single bool, err error) {
	single = k.SingleWriter
	if rest, err = cutParameter(rest, "single_writer", setBool(&single)); err == nil {
		l, err = service.Locate(rest, k.Settings)
	}
	return l, single, err
}

func (k *packedKind) detail() string { return cmp.Or(k.Path, withoutSecrets(k.URL)) }

func (k *packedKind) folder() string { return cmp.Or(k.Path, k.inBucket.folder()) }

func (k *packedKind) landmark() (store.Landmark, error) {
	if k.folder() == "" {
		return k.ruled.landmark()
	}
	return packed.Landmark(k.folder())
}

// relativeTo makes a relative path start in dir.
func (k *packedKind) relativeTo(dir string) {
	if k.Path != "" && !filepath.IsAbs(k.Path) {
		k.Path = filepath.Join(dir, k.Path)
	}
}

func (k *packedKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	options := packed.Options{
		Create: o.Create, New: o.New, SizeRule: *cmp.Or(k.rule(), new(store.SizeRule)),
		ChunkSize: k.settings.ChunkSize, Compression: k.settings.Compression,
		ReadOnly: o.ReadOnly, Exclusive: o.Exclusive, Wait: o.Wait, OnWait: o.OnWait, Tolerate: o.Tolerate,
	}
	st, err := k.openPlace(ctx, o, options)
	if o.Create && o.Tolerate && errors.Is(err, store.ErrNoStore) { // a new cache: package packed does not tolerate damage when it creates
		options.Tolerate = false
		st, err = k.openPlace(ctx, o, options)
	}
	return st, err
}

// openPlace opens the store in its folder or bucket.
func (k *packedKind) openPlace(ctx context.Context, o Options, options packed.Options) (*store.Store, error) {
	if k.URL == "" {
		return packed.Open(ctx, k.Path, options)
	}
	rest, _, _ := cutRule(k.URL) // check has looked at all of it
	l, single, err := k.locate(rest)
	if err != nil {
		return nil, err
	}
	b, err := l.Open(ctx, service.OpenOptions{Create: o.Create && !o.ReadOnly, Meter: o.Meter, Unasked: true})
	if err != nil {
		return nil, err
	}
	bo := packed.BucketOptions{Options: options, SingleWriter: single}
	if l.Far {
		bo.Cache = o.Cache
	}
	return packed.OpenBucket(ctx, b, bo)
}

// sizeRule returns the rule of the store, or of the one that would be made.
func (k *packedKind) sizeRule(ctx context.Context, o Options) (store.SizeRule, error) {
	if k.URL == "" {
		return packed.SizeRule(k.Path)
	}
	o.ReadOnly, o.Create = true, false
	st, err := k.open(ctx, o, nil)
	if errors.Is(err, store.ErrNoStore) {
		return store.SizeDocumented, nil
	}
	if err != nil {
		return 0, err
	}
	return st.SizeRule, st.Close()
}
