package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"castar/store"
	"castar/store/chunk"
)

// URLOptions say how the store that a URL names is opened. The zero value opens one that is there.
type URLOptions struct {
	Create       bool              // make the folder of a file: store where there is none; buckets are never made
	ReadOnly     bool              // refuse to write
	AvgChunkSize int               // see Options
	Settings     map[string]string // the same keys as in the query; a key in both is an error
}

// OpenURL opens the store that a URL names:
//
//	objectstore+file:/path, objectstore+file:///path   a folder
//	objectstore+memory:, objectstore+memory:///        a new, empty one, gone with the process
//	objectstore+s3://bucket/path                       S3
//	objectstore+http://host/path, objectstore+https://user:password@host/path
//	                                                   an HTTP server; to list or write it must speak WebDAV
//	objectstore+gs://bucket/path, objectstore+az://container/path
//	                                                   Google's and Azure's services, in programs built with the
//	                                                   tag cloud
//
// "objectstore+" may be left out. The query may have the settings of S3 (see S3Config; also without "aws_"):
// aws_access_key_id, aws_secret_access_key, aws_session_token, aws_profile, aws_skip_signature, aws_region,
// aws_endpoint_url, aws_allow_http, aws_virtual_hosted_style_request, and user_agent. Those that are not there are
// taken from the environment, where they have the same names in capitals. Those of HTTP are user_agent, and allow_http,
// which is true unless it is false. Unknown settings are an error.
//
// The error is store.ErrNoStore where there is none. The ID of the store depends on the place alone.
func OpenURL(ctx context.Context, raw string, o URLOptions) (*store.Store, error) {
	u, err := url.Parse(strings.TrimPrefix(raw, "objectstore+"))
	if err != nil {
		return nil, errors.New("invalid store URL") // no more of it, for it may hold secrets
	}
	settings, err := mergeSettings(u, o.Settings)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", show(u), err)
	}
	b, options, err := openBucketURL(ctx, u, settings, o)
	if err != nil {
		if errors.Is(err, store.ErrNoStore) {
			return nil, err
		}
		return nil, fmt.Errorf("store %q: %w", show(u), err)
	}
	options.ReadOnly, options.AvgChunkSize = o.ReadOnly, o.AvgChunkSize
	return Open(ctx, b, options)
}

// CheckURL reports what is wrong with the settings that OpenURL would be given, and with the length of chunks, without
// opening anything. Those that it knows are checked as far as can be told without the service.
func CheckURL(raw string, o URLOptions) error {
	u, err := url.Parse(strings.TrimPrefix(raw, "objectstore+"))
	if err != nil {
		return errors.New("invalid store URL")
	}
	settings, err := mergeSettings(u, o.Settings)
	if err == nil && o.AvgChunkSize != 0 {
		_, err = chunk.ParamsFor(o.AvgChunkSize)
	}
	switch {
	case err != nil, u.Scheme == "gs", u.Scheme == "az": // whose settings not every program knows
	case u.Scheme == "s3":
		_, err = s3Config(u.Host, u.Path, settings)
	case isHTTP(u):
		_, err = httpConfig(u, settings)
	case len(settings) > 0:
		err = unknownSetting(settings)
	}
	return err
}

func unknownSetting(settings map[string]string) error {
	return fmt.Errorf("unknown setting %s", slices.Min(slices.Collect(maps.Keys(settings))))
}

// show returns what messages say of a URL: no query, for it may hold secrets.
func show(u *url.URL) string {
	if u.Opaque != "" || u.Host == "" {
		return u.Scheme + ":" + u.Opaque + u.Path
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// mergeSettings returns the settings of a query and others. A plus in the query is one, and no space: secret keys have
// some, and no setting has spaces.
func mergeSettings(u *url.URL, more map[string]string) (map[string]string, error) {
	query, err := url.ParseQuery(strings.ReplaceAll(u.RawQuery, "+", "%2B"))
	if err != nil {
		return nil, errors.New("invalid query")
	}
	settings := map[string]string{}
	add := func(key, value string) error {
		key = strings.ToLower(key)
		if _, twice := settings[key]; twice {
			return fmt.Errorf("setting %s is given twice", key)
		}
		if value == "" {
			return fmt.Errorf("setting %s has no value", cmp.Or(key, `""`))
		}
		settings[key] = value
		return nil
	}
	for key, values := range query {
		for _, value := range values {
			err = cmp.Or(err, add(key, value))
		}
	}
	for key, value := range more {
		err = cmp.Or(err, add(key, value))
	}
	if u.User != nil && !isHTTP(u) || u.Fragment != "" {
		err = cmp.Or(err, errors.New("user or fragment in the URL"))
	}
	return settings, err
}

func isHTTP(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// openBucketURL opens the Bucket that a URL names, and says what suits it.
func openBucketURL(ctx context.Context, u *url.URL, settings map[string]string, o URLOptions) (Bucket, Options, error) {
	if u.Scheme == "s3" || u.Scheme == "gs" || u.Scheme == "az" {
		if u.Host == "" || u.Opaque != "" || strings.Contains(u.Host, ":") {
			return nil, Options{}, fmt.Errorf("no bucket: want %s://bucket/path", u.Scheme)
		}
	} else if len(settings) > 0 && !isHTTP(u) {
		return nil, Options{}, unknownSetting(settings)
	}
	path := strings.Trim(u.Path, "/")
	far := Options{ID: id(u.Scheme, u.Host, path), Concurrency: 32, ListPage: listPage}
	switch u.Scheme {
	case "memory":
		if u.Opaque != "" || u.Host != "" || path != "" {
			return nil, Options{}, errors.New("memory: takes nothing after the colon")
		}
		return NewMemory(), Options{}, nil
	case "file":
		if u.Opaque != "" || u.Host != "" || path == "" {
			return nil, Options{}, errors.New("no absolute path: want file:/path or file:///path")
		}
		dir := filepath.Clean(u.Path)
		b, err := OpenFile(dir, o.Create && !o.ReadOnly)
		return b, Options{ID: id("file", dir), Concurrency: 8}, err
	case "s3":
		c, err := s3Config(u.Host, path, settings)
		if err != nil {
			return nil, far, err
		}
		far.ID = id("s3", c.Endpoint, c.Bucket, c.Path)
		b, err := OpenS3(ctx, c)
		return b, far, err
	case "http", "https":
		if u.Hostname() == "" {
			return nil, far, fmt.Errorf("no host: want %s://host/path", u.Scheme)
		}
		c, err := httpConfig(u, settings)
		if err != nil {
			return nil, far, err
		}
		far.ListPage = 0 // a request lists one folder
		b, err := OpenHTTP(ctx, c)
		return b, far, err
	case "gs", "az":
		b, err := openCloud(ctx, u.Scheme, u.Host, path, settings)
		return b, far, err
	}
	return nil, Options{}, fmt.Errorf("unknown kind of object store %q: want file, memory, s3, gs, az, http or https", u.Scheme)
}

// id returns the ID of the store at a place.
func id(parts ...string) string {
	return "objects-" + store.Sum([]byte(strings.Join(parts, "\x00"))).String()[:32]
}

// s3Config reads settings, and the environment where they say nothing.
func s3Config(bucket, path string, settings map[string]string) (c S3Config, err error) {
	c = S3Config{Bucket: bucket, Path: path}
	texts := map[string]*string{
		"access_key_id": &c.KeyID, "secret_access_key": &c.Secret, "session_token": &c.Token, "profile": &c.Profile,
		"region": &c.Region, "endpoint_url": &c.Endpoint, "user_agent": &c.UserAgent,
	}
	flags := map[string]*bool{
		"allow_http": &c.AllowHTTP, "virtual_hosted_style_request": &c.VirtualHosts, "skip_signature": &c.Anonymous,
	}
	other := map[string]string{"endpoint": "endpoint_url", "token": "session_token", "default_region": "region"}
	canonical := func(key string) string {
		name := strings.TrimPrefix(key, "aws_")
		return cmp.Or(other[name], name)
	}
	set := func(key, value string) (err error) {
		name := canonical(key)
		if text, ok := texts[name]; ok {
			*text = value
		} else if flag, ok := flags[name]; ok {
			if *flag, err = strconv.ParseBool(value); err != nil {
				err = fmt.Errorf("setting %s is %q: want true or false", key, value)
			}
		} else {
			err = fmt.Errorf("unknown setting %s", key)
		}
		return err
	}
	// Credentials in the environment and the profile are for the client's own chain.
	for _, name := range []string{
		"AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
		"AWS_SKIP_SIGNATURE",
	} {
		if value := os.Getenv(name); value != "" {
			if err := set(strings.ToLower(name), value); err != nil {
				return c, fmt.Errorf("environment: %w", err)
			}
		}
	}
	given := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if first, twice := given[canonical(key)]; twice {
			return c, fmt.Errorf("settings %s and %s are the same", first, key)
		}
		given[canonical(key)] = key
		if err := set(key, settings[key]); err != nil {
			return c, err
		}
	}
	if (c.KeyID == "") != (c.Secret == "") {
		return c, errors.New("settings aws_access_key_id and aws_secret_access_key: want both or none")
	}
	return c, nil
}
