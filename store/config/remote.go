package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"castar/store"
	"castar/store/objects"
	"castar/store/rpc"
)

// grpcKind is the store of a server.
type grpcKind struct {
	single
	URL string `toml:"url"`
}

func (k *grpcKind) setURL(scheme, rest string) error {
	k.URL = scheme + ":" + rest
	return nil
}

// check looks at the form of the URL. Its parameters are looked at when it is opened, which may need the files that they
// name.
func (k *grpcKind) check() error {
	if k.URL == "" {
		return missing("url", k.URL)
	}
	u, err := parseStrict(k.URL)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "grpc+unix":
		if u.Host != "" || len(u.Path) < 2 {
			return errors.New("grpc+unix takes an absolute path and no host, as in grpc+unix:/run/castar.sock")
		}
	case "grpc+http", "grpc+https":
		if u.Hostname() == "" || u.Path != "" {
			return fmt.Errorf("%s takes a host and no path, as in %[1]s://localhost:8000", u.Scheme)
		}
	default:
		return fmt.Errorf("unknown scheme %q: want grpc+http, grpc+https or grpc+unix", u.Scheme)
	}
	return nil
}

func (k *grpcKind) detail() string { return withoutSecrets(k.URL) }

func (k *grpcKind) open(ctx context.Context, _ Options, _ []*store.Store) (*store.Store, error) {
	return rpc.Dial(ctx, k.URL)
}

// objectsKind is a bucket of objects in the layout of tvix and snix.
type objectsKind struct {
	single
	URL      string            `toml:"object_store_url"`
	Settings map[string]string `toml:"object_store_options"`
	Avg      int               `toml:"avg_chunk_size"`
}

func (k *objectsKind) setURL(scheme, rest string) error {
	k.URL = scheme + ":" + rest
	if scheme == "objectstore" {
		return errors.New("want objectstore+file:/path, objectstore+memory:, objectstore+s3://bucket/path, objectstore+http://host/path or others")
	}
	return nil
}

// parse returns the URL without the prefix that it may have.
func (k *objectsKind) parse() (*url.URL, error) {
	return parseStrict(strings.TrimPrefix(k.URL, "objectstore+"))
}

func isHTTP(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// check looks at the form of the URL and at its settings, which may lack some that are in the environment.
func (k *objectsKind) check() error {
	if k.URL == "" {
		return missing("object_store_url", k.URL)
	}
	u, err := k.parse()
	if err != nil {
		return err
	}
	path := strings.Trim(u.Path, "/")
	kinds := []string{"file", "memory", "s3", "http", "https", "gs", "az"}
	switch {
	case !slices.Contains(kinds, u.Scheme):
		return fmt.Errorf("unknown kind of object store %q: want %s", u.Scheme, strings.Join(kinds, ", "))
	case u.Scheme == "memory" && (u.Host != "" || path != "" || u.Opaque != ""):
		return errors.New("objectstore+memory: takes nothing after the colon")
	case u.Scheme == "file" && (u.Host != "" || path == ""):
		return errors.New("objectstore+file takes an absolute path, as in objectstore+file:/path")
	case isHTTP(u) && u.Hostname() == "":
		return fmt.Errorf("objectstore+%s takes a host, as in objectstore+%[1]s://host/path", u.Scheme)
	case len(u.Scheme) == 2 && u.Host == "":
		return fmt.Errorf("objectstore+%s takes a bucket, as in objectstore+%[1]s://bucket/path", u.Scheme)
	}
	return objects.CheckURL(k.URL, k.options())
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
	options := k.options()
	options.Create, options.ReadOnly = o.Create, o.ReadOnly
	return objects.OpenURL(ctx, k.URL, options)
}

// parseStrict is url.Parse without the URL in the error, without fragments, which no store has, and without users, which
// only those of HTTP have.
func parseStrict(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil && !isHTTP(u) || u.Fragment != "" {
		return nil, errors.New("invalid URL")
	}
	return u, nil
}

// withoutSecrets returns a URL for messages: without the query, and what is before an @. Of one that is none, in which
// that could be anywhere, it returns the scheme.
func withoutSecrets(text string) string {
	text, _, _ = strings.Cut(text, "?")
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
