package config

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"strings"

	"castar/store"
	"castar/store/objects"
	"castar/store/rpc"
)

// grpcKind is the store of a gRPC server.
type grpcKind struct {
	URL string `toml:"url"`
	ruled
}

func (k *grpcKind) rule() *store.SizeRule { return ruleOf(k.Rule, k.URL) }

// ruleOf returns the size rule of a key, or else of a URL.
func ruleOf(key *store.SizeRule, text string) *store.SizeRule {
	if key != nil {
		return key
	}
	_, rule, _ := cutRule(text)
	return rule
}

func (k *grpcKind) setURL(scheme, rest string) error {
	k.URL = scheme + ":" + rest
	return nil
}

// check checks the URL. It does not read the files that the URL names.
func (k *grpcKind) check() error {
	if k.URL == "" {
		return missing("url", k.URL)
	}
	if err := checkWhole("grpc", k.URL); err != nil {
		return err
	}
	rest, _, err := cutRule(k.URL)
	if err != nil {
		return err
	}
	return rpc.CheckURL(rest)
}

func (k *grpcKind) detail() string { return withoutSecrets(k.URL) }

func (k *grpcKind) open(ctx context.Context, _ Options, _ []*store.Store) (*store.Store, error) {
	rest, _, err := cutRule(k.URL)
	if err != nil {
		return nil, err
	}
	return rpc.Dial(ctx, rest)
}

// objectsKind is a bucket of objects in the layout of tvix and snix.
type objectsKind struct {
	URL      string            `toml:"object_store_url"`
	Settings map[string]string `toml:"object_store_options"`
	Avg      int               `toml:"avg_chunk_size"`
	ruled
}

func (k *objectsKind) rule() *store.SizeRule { return ruleOf(k.Rule, k.URL) }

func (k *objectsKind) setURL(scheme, rest string) error {
	k.URL = scheme + ":" + rest
	return nil
}

// parse returns the URL without the prefix that it may have.
func (k *objectsKind) parse() (*url.URL, error) {
	u, err := url.Parse(strings.TrimPrefix(k.URL, "objectstore+"))
	if err != nil {
		return nil, errors.New("invalid URL")
	}
	return u, nil
}

// check checks the form of the URL and its settings. Some settings may be in the environment instead.
func (k *objectsKind) check() error {
	if k.URL == "" {
		return missing("object_store_url", k.URL)
	}
	if err := checkWhole("objectstore", "objectstore+"+strings.TrimPrefix(k.URL, "objectstore+")); err != nil {
		return err
	}
	rest, _, err := cutRule(k.URL)
	if err != nil {
		return err
	}
	return objects.CheckURL(rest, k.options())
}

func (k *objectsKind) options() objects.URLOptions {
	return objects.URLOptions{AvgChunkSize: k.Avg, Settings: k.Settings}
}

func (k *objectsKind) detail() string { return withoutSecrets(k.URL) }

func (k *objectsKind) folder() string {
	if u, err := k.parse(); err == nil && u.Scheme == "file" {
		return u.Path
	}
	return ""
}

func (k *objectsKind) landmark() (store.Landmark, error) {
	folder := k.folder()
	if folder == "" {
		return store.Landmark{}, fs.ErrNotExist
	}
	return objects.Landmark(folder)
}

func (k *objectsKind) open(ctx context.Context, o Options, _ []*store.Store) (*store.Store, error) {
	rest, _, err := cutRule(k.URL)
	if err != nil {
		return nil, err
	}
	options := k.options()
	options.Create, options.ReadOnly = o.Create, o.ReadOnly
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
