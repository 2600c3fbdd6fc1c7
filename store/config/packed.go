package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"castar/store"
	"castar/store/bucket"
	"castar/store/meter"
	"castar/store/packed"
)

// packedKind is a packed store in a folder or in a bucket.
type packedKind struct {
	Path         string            `toml:"path"`
	URL          string            `toml:"object_store_url"` // of the bucket
	Settings     map[string]string `toml:"object_store_options"`
	SingleWriter bool              `toml:"single_writer"`
	ruled
	settings Settings // of a store that Init makes
}

// setURL takes a path as it is: a percent sign stands for itself.
func (k *packedKind) setURL(scheme, rest string) error {
	of, inBucket := strings.CutPrefix(scheme, "packed+")
	if !inBucket {
		k.Path = strings.TrimPrefix(rest, "//") // no host follows
		return nil
	}
	k.URL = of + ":" + rest
	return nil
}

func (k *packedKind) rule() *store.SizeRule { return k.ruleOr(k.URL) }

func (k *packedKind) detail() string { return cmp.Or(k.Path, withoutSecrets(k.URL)) }

func (k *packedKind) folder() string {
	if u, err := url.Parse(k.URL); k.URL != "" && err == nil && u.Scheme == "file" {
		return u.Path
	}
	return k.Path
}

func (k *packedKind) landmark() (store.Landmark, error) {
	if folder := k.folder(); folder != "" {
		return packed.Landmark(folder)
	}
	return store.Landmark{}, fs.ErrNotExist
}

func (k *packedKind) check() error {
	switch {
	case k.Path == "" && k.URL == "":
		return errors.New("no path")
	case k.Path != "" && k.URL != "":
		return errors.New("path and object_store_url exclude each other")
	case k.URL == "" && (len(k.Settings) > 0 || k.SingleWriter):
		return errors.New("object_store_options and single_writer need an object_store_url")
	case k.URL == "":
		return nil
	}
	k.URL = strings.TrimPrefix(k.URL, "packed+")
	rest, err := checkURL("packed", "object_store_url", "packed+"+k.URL)
	if err != nil {
		return err
	}
	_, _, err = k.locate(strings.TrimPrefix(rest, "packed+"))
	return err
}

// locate returns where the bucket is, and whether one writer only is promised. The URL has no size rule any more.
func (k *packedKind) locate(rest string) (l bucket.Location, single bool, err error) {
	rest, query, _ := strings.Cut(rest, "?")
	var kept []string
	single = k.SingleWriter
	for pair := range strings.SplitSeq(query, "&") {
		value, ok := strings.CutPrefix(pair, "single_writer=")
		switch {
		case ok && value != "true" && value != "false":
			return l, false, fmt.Errorf("parameter \"single_writer\": want true or false, not %q", value)
		case ok:
			single = value == "true"
		case pair != "":
			kept = append(kept, pair)
		}
	}
	if len(kept) > 0 {
		rest += "?" + strings.Join(kept, "&")
	}
	l, err = bucket.Locate(rest, k.Settings)
	return l, single, err
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
	open := func() (*store.Store, error) { return packed.Open(ctx, k.Path, options) }
	if k.URL != "" {
		open = func() (*store.Store, error) { return k.openBucket(ctx, options, o.Meter) }
	}
	st, err := open()
	if o.Create && o.Tolerate && errors.Is(err, store.ErrNoStore) { // a new cache: packed.Open does not tolerate damage when it creates
		options.Tolerate = false
		st, err = open()
	}
	return st, err
}

func (k *packedKind) openBucket(ctx context.Context, o packed.Options, m *meter.Meter) (*store.Store, error) {
	rest, _, _ := cutRule(k.URL) // check has looked at it
	l, single, err := k.locate(rest)
	if err != nil {
		return nil, err
	}
	b, err := l.Open(ctx, bucket.OpenOptions{Create: o.Create && !o.ReadOnly, Meter: m})
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err == nil && l.Far {
		cache = filepath.Join(cache, "castar", "buckets")
	} else {
		cache = ""
	}
	return packed.OpenBucket(ctx, b, packed.BucketOptions{Options: o, Cache: cache, SingleWriter: single})
}

// storedRule returns the rule that the store itself has, as far as that can be known without asking a service.
func (k *packedKind) storedRule() (store.SizeRule, error) {
	if k.folder() == "" {
		return store.SizeDocumented, nil
	}
	return packed.SizeRule(k.folder())
}
