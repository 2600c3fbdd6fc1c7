// Package service has the buckets of remote services: S3, Google's and Azure's, and HTTP servers with WebDAV. Their
// calls are repeated for as long as an error may go away. Locate also opens the buckets on this machine, of package bucket.
package service

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
	"castar/store/bucket"
	"castar/store/query"
	"castar/store/traffic"
)

// Location says where a Bucket is, and how to open it.
type Location struct {
	ID       string // depends only on where it is
	Far      bool   // it is a remote service
	ListPage int    // objects that List returns at the cost of one call of Head; 0: listing saves nothing
	name     string // for messages
	open     func(ctx context.Context, o OpenOptions) (bucket.Bucket, error)
}

// OpenOptions say how to open a Bucket.
type OpenOptions struct {
	Own     string         // the beginning of names that the Bucket may use for itself; see OpenFile
	Create  bool           // make a folder that does not exist; buckets of services are never made
	Meter   *traffic.Meter // of services; may be nil
	Unasked bool           // do not ask S3 first whether there is such a bucket: the first call of Load will show
}

// Open opens the Bucket. The error is store.ErrNoStore if there is no such Bucket.
func (l Location) Open(ctx context.Context, o OpenOptions) (bucket.Bucket, error) {
	b, err := l.open(ctx, o)
	if err != nil && !errors.Is(err, store.ErrNoStore) {
		err = fmt.Errorf("store %q: %w", l.name, err)
	}
	return b, err
}

// Locate reads the URL of a Bucket and its settings, those in the query and more; a key in both is an error. The name of
// what the Bucket holds may stand before the URL, as in objectstore+s3:
//
//	file:/path, file:///path         a folder
//	memory:, memory:///              new and empty, gone with the process
//	s3://bucket/path                 S3
//	http://host/path, https://user:password@host/path
//	                                 an HTTP server; to list or write it must speak WebDAV
//	gs://bucket/path, az://container/path
//	                                 Google's and Azure's services, in programs built with the tag cloud
//
// The settings of S3 are those of S3Config: aws_access_key_id, aws_secret_access_key, aws_session_token, aws_profile,
// aws_skip_signature, aws_region, aws_endpoint_url, aws_allow_http, aws_virtual_hosted_style_request, and user_agent.
// "aws_" may be left out. Missing settings come from the environment, where they have the same names in capitals. The
// settings of HTTP are user_agent and allow_http, which is true by default. An unknown setting is an error. The settings of
// gs and az are checked by Open, because not every program knows them.
func Locate(raw string, more map[string]string) (Location, error) {
	scheme, _, _ := strings.Cut(raw, ":")
	i := strings.IndexByte(scheme, '+') + 1
	before, rest := raw[:i], raw[i:]
	u, err := url.Parse(rest)
	if err != nil {
		return Location{}, errors.New("invalid store URL") // which may hold secrets
	}
	settings, err := mergeSettings(u, more)
	if err != nil {
		return Location{}, err
	}
	path := strings.Trim(u.Path, "/")
	l := Location{ID: id(u.Scheme, u.Host, path), Far: true, ListPage: ListPage, name: show(u)}
	switch u.Scheme {
	case "memory", "file":
		if len(settings) > 0 {
			return l, fmt.Errorf("unknown setting %s", slices.Min(slices.Collect(maps.Keys(settings))))
		}
		return locateHere(before, u, path)
	case "s3":
		c, err := s3Config(u.Host, path, settings)
		l.ID = id("s3", c.Endpoint, c.Bucket, c.Path)
		l.open = func(ctx context.Context, o OpenOptions) (bucket.Bucket, error) {
			c.Meter, c.Unasked = o.Meter, o.Unasked
			return OpenS3(ctx, c)
		}
		return l, err
	case "http", "https":
		c, err := httpConfig(u, settings)
		l.ListPage = 0 // a request lists one folder
		l.open = func(ctx context.Context, o OpenOptions) (bucket.Bucket, error) {
			c.Meter = o.Meter
			return OpenHTTP(ctx, c)
		}
		return l, err
	case "gs", "az":
		l.open = func(ctx context.Context, o OpenOptions) (bucket.Bucket, error) {
			return openCloud(ctx, u.Scheme, u.Host, path, settings, o.Meter)
		}
		return l, nil
	}
	return l, fmt.Errorf("unknown kind of object store %q: want file, memory, s3, gs, az, http or https", u.Scheme)
}

// locateHere is Locate for Buckets on this machine.
func locateHere(before string, u *url.URL, path string) (Location, error) {
	if u.Scheme == "memory" {
		if path != "" {
			return Location{}, fmt.Errorf("%smemory takes no path", before)
		}
		return Location{name: "memory:", open: func(context.Context, OpenOptions) (bucket.Bucket, error) { return bucket.NewMemory(), nil }}, nil
	}
	if path == "" {
		return Location{}, fmt.Errorf("%sfile needs a path: want %[1]sfile:/path", before)
	}
	dir := filepath.Clean(u.Path)
	open := func(_ context.Context, o OpenOptions) (bucket.Bucket, error) {
		return bucket.OpenFile(dir, o.Own, o.Create)
	}
	return Location{ID: id("file", dir), name: show(u), open: open}, nil
}

// id returns an ID, which depends on the parts of a location.
func id(parts ...string) string { return store.Sum([]byte(strings.Join(parts, "\x00"))).String()[:32] }

// show returns a URL for messages, without its query and user, which may hold secrets.
func show(u *url.URL) string {
	if u.Opaque != "" || u.Host == "" {
		return u.Scheme + ":" + u.Opaque + u.Path
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// mergeSettings returns the settings of a query and others, by their names in lower case.
func mergeSettings(u *url.URL, more map[string]string) (map[string]string, error) {
	values, err := query.Parse(u.RawQuery)
	if err != nil {
		return nil, err
	}
	settings := url.Values{}
	for key, list := range values {
		settings[strings.ToLower(key)] = append(settings[strings.ToLower(key)], list...)
	}
	for key, value := range more {
		settings.Add(strings.ToLower(key), value)
	}
	return query.Once(settings)
}

// variables points at the fields that settings set, each a *string or a *bool, by the names of the settings.
type variables map[string]any

// set sets the setting called key, whose name may be another.
func (v variables) set(key, name, value string) (err error) {
	switch to := v[name].(type) {
	case *string:
		*to = value
	case *bool:
		if *to, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("setting %s is %q: want true or false", key, value)
		}
	default:
		err = fmt.Errorf("unknown setting %s", key)
	}
	return err
}

// setAll sets all settings. canonical returns the name of a key, and no two keys may have one name.
func (v variables) setAll(settings map[string]string, canonical func(string) string) error {
	given := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		name := canonical(key)
		if first, twice := given[name]; twice {
			return fmt.Errorf("settings %s and %s are the same", first, key)
		}
		given[name] = key
		if err := v.set(key, name, settings[key]); err != nil {
			return err
		}
	}
	return nil
}

// s3Config returns the S3Config that settings describe. Missing settings come from the environment.
func s3Config(name, path string, settings map[string]string) (c S3Config, err error) {
	c = S3Config{Bucket: name, Path: path}
	fields := variables{
		"access_key_id": &c.KeyID, "secret_access_key": &c.Secret, "session_token": &c.Token, "profile": &c.Profile,
		"region": &c.Region, "endpoint_url": &c.Endpoint, "user_agent": &c.UserAgent,
		"allow_http": &c.AllowHTTP, "virtual_hosted_style_request": &c.VirtualHosts, "skip_signature": &c.Anonymous,
	}
	other := map[string]string{"endpoint": "endpoint_url", "token": "session_token", "default_region": "region"}
	canonical := func(key string) string {
		name := strings.TrimPrefix(key, "aws_")
		return cmp.Or(other[name], name)
	}
	// The client itself reads credentials and the profile from the environment.
	for _, name := range []string{
		"AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
		"AWS_SKIP_SIGNATURE",
	} {
		if value := os.Getenv(name); value != "" {
			key := strings.ToLower(name)
			if err := fields.set(key, canonical(key), value); err != nil {
				return c, fmt.Errorf("environment: %w", err)
			}
		}
	}
	err = fields.setAll(settings, canonical)
	if err == nil && (c.KeyID == "") != (c.Secret == "") {
		err = errors.New("settings aws_access_key_id and aws_secret_access_key: want both or neither")
	}
	return c, err
}

func httpConfig(u *url.URL, settings map[string]string) (c HTTPConfig, err error) {
	c.URL = u
	allow := true
	fields := variables{"user_agent": &c.UserAgent, "allow_http": &allow}
	err = fields.setAll(settings, func(key string) string { return key })
	if err == nil && !allow && u.Scheme == "http" {
		err = errors.New("allow_http=false forbids a URL without TLS")
	}
	return c, err
}
