package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"castar/store"
	"castar/store/bigtable"
	"castar/store/objects"
	"castar/store/rpc"
)

// grpcKind is the store of a gRPC server.
type grpcKind struct {
	URL string `toml:"url"`
	ruled
}

func (k *grpcKind) rule() *store.SizeRule { return k.ruleOr(k.URL) }

// ruleOr returns the size rule of the key, or else of a URL.
func (k *ruled) ruleOr(text string) *store.SizeRule {
	_, rule, _ := cutRule(text)
	return cmp.Or(k.Rule, rule)
}

// checkURL checks the form of a URL of that kind. It returns the URL without a size rule.
func checkURL(kind, text string) (rest string, err error) {
	scheme, rest, ok := splitScheme(text)
	if !ok || kindOf(scheme) != kind {
		return "", unknownScheme(kind, scheme)
	}
	if err := checkForm(scheme, rest); err != nil {
		return "", err
	}
	rest, _, err = cutRule(text)
	return rest, err
}

func (k *grpcKind) setURL(scheme, rest string) error {
	k.URL = scheme + ":" + rest
	return nil
}

// check checks the URL. It does not read the files that the URL names.
func (k *grpcKind) check() error {
	if k.URL == "" {
		return errors.New("missing url")
	}
	rest, err := checkURL("grpc", k.URL)
	if err != nil {
		return err
	}
	return rpc.CheckURL(rest)
}

func (k *grpcKind) detail() string { return withoutSecrets(k.URL) }

func (k *grpcKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	rest, _, _ := cutRule(k.URL) // check has looked at it
	return rpc.Dial(ctx, rest, o.Meter)
}

// inBucket is the parameters of a store in a bucket. The kind and a plus may stand before the URL.
type inBucket struct {
	URL      string            `toml:"object_store_url"`
	Settings map[string]string `toml:"object_store_options"`
}

func (b *inBucket) setURL(scheme, rest string) error {
	b.URL = scheme + ":" + rest
	return nil
}

// checkURL checks the form of the URL, and returns it with the kind and without a size rule.
func (b *inBucket) checkURL(kind string) (rest string, err error) {
	return checkURL(kind, kind+"+"+strings.TrimPrefix(b.URL, kind+"+"))
}

// folder returns the folder that the bucket is, or "".
func (b *inBucket) folder() string {
	text := strings.TrimPrefix(strings.TrimPrefix(b.URL, "packed+"), "objectstore+")
	if u, err := url.Parse(text); err == nil && u.Scheme == "file" {
		return filepath.Clean(u.Path)
	}
	return ""
}

// objectsKind is a bucket of objects in the layout of tvix and snix.
type objectsKind struct {
	inBucket
	Avg int `toml:"avg_chunk_size"`
	ruled
}

func (k *objectsKind) rule() *store.SizeRule { return k.ruleOr(k.URL) }

// check checks the form of the URL and its settings. Some settings may be in the environment instead.
func (k *objectsKind) check() error {
	if k.URL == "" {
		return errors.New("missing object_store_url")
	}
	rest, err := k.checkURL("objectstore")
	if err != nil {
		return err
	}
	return objects.CheckURL(rest, k.options())
}

func (k *objectsKind) options() objects.URLOptions {
	return objects.URLOptions{AvgChunkSize: k.Avg, Settings: k.Settings}
}

func (k *objectsKind) detail() string { return withoutSecrets(k.URL) }

func (k *objectsKind) landmark() (store.Landmark, error) {
	if k.folder() == "" {
		return k.ruled.landmark()
	}
	return objects.Landmark(k.folder())
}

func (k *objectsKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	rest, _, _ := cutRule(k.URL) // check has looked at it
	options := k.options()
	options.Create, options.ReadOnly, options.Meter = o.Create, o.ReadOnly, o.Meter
	return objects.OpenURL(ctx, rest, options)
}

// withoutSecrets returns a URL for messages, without the query and the user. It returns only the scheme of an invalid URL,
// in which secrets could be anywhere.
func withoutSecrets(text string) string {
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i]
	}
	if before, rest, ok := strings.Cut(text, "://"); ok {
		if _, err := url.Parse(text); err != nil {
			return before + "://..."
		}
		host, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			return before + "://" + strings.TrimSuffix(host[i+1:]+"/"+path, "/")
		}
	}
	return text
}

// bigtableKind is the directories in a table of Bigtable.
type bigtableKind struct {
	bigtable.Config
	Timeout seconds `toml:"timeout"`
	ruled
}

// seconds is a duration, which upstream writes as a string of a number.
type seconds time.Duration

// UnmarshalTOML implements toml.Unmarshaler.
func (s *seconds) UnmarshalTOML(v any) error {
	return s.set(fmt.Sprint(v))
}

func (s *seconds) set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0 && n <= 24*60*60) {
		return fmt.Errorf("timeout %q: want a number of seconds, at most a day", text)
	}
	*s = seconds(n * float64(time.Second))
	return nil
}

func (k *bigtableKind) setURL(_, rest string) error {
	u, err := url.Parse("bigtable:" + rest)
	if err != nil {
		return errors.New("invalid URL")
	}
	k.Instance = u.Host
	return setQuery(rest, map[string]func(string) error{
		"project_id": setText(&k.Project), "table_name": setText(&k.Table), "family_name": setText(&k.Family),
		"app_profile_id": setText(&k.AppProfile), "is_read_only": setBool(&k.ReadOnly), "timeout": k.Timeout.set,
		ruleKey: setRule(&k.Rule),
		"channel_size": func(s string) (err error) {
			if k.Channels, err = strconv.Atoi(s); err != nil || k.Channels < 1 {
				return errors.New("want a whole number from 1 on")
			}
			return nil
		},
	})
}

func (k *bigtableKind) check() error      { return k.Config.Check() }
func (k *bigtableKind) fits(t table) bool { return t != tableBlobs }
func (k *bigtableKind) detail() string    { return k.Instance + "/" + k.Table }

func (k *bigtableKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	c := k.Config
	c.ReadOnly, c.Meter, c.Timeout = c.ReadOnly || o.ReadOnly, o.Meter, time.Duration(k.Timeout)
	return bigtable.Open(ctx, c)
}

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

// sledKind is a database of tvix until October 2024.
type sledKind struct{ foreign }

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
