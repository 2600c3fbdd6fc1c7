// Package config opens the store that a name stands for: a path, a URL, or an entry of a composition file.
//
//	name ──▶ kind with parameters ──▶ nodes, each with its parts ──▶ *store.Store
//	         kinds.go (URLs: url.go)  plan.go                        build.go
//	         file.go (files)
//
// Every other package gets its stores from Open:
//
//	st, err := config.Open(ctx, "cache:?near=/var/cache/castar&far=grpc+https://host", config.Options{})
//	...
//	defer st.Close()
package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"castar/store"
	"castar/store/traffic"
)

// Options say how to open a store. A kind of store ignores options that mean nothing to it.
type Options struct {
	Create    bool                // make the store if it does not exist
	New       bool                // with Create: refuse a store that exists; packed stores only
	Parents   bool                // with Create: make the folders above the store too
	MountsDir string              // with Create: a folder that remembers on which file systems stores were; "" for none
	OnMade    func(folder string) // with Create: called when a store was made in a folder; may be nil
	ReadOnly  bool                // refuse writes, and need no permission for them
	Exclusive bool                // lock out all other processes until the store is closed; not for a store made of others
	Wait      time.Duration       // how long to wait for the locks of other processes; negative: for ever
	OnWait    func()              // called once when waiting begins; may be nil
	Tolerate  bool                // open a damaged store as far as possible, to examine or repair it
	Cache     string              // a folder for copies of what buckets hold, which is safe to delete; "" for none
	Meter     *traffic.Meter      // counts and limits the traffic with remote stores; may be nil
}

// Open opens the store that spec names:
//
//	/path, ./path, path      the packed store in that folder, or the entry of that composition file (see Load)
//	FILE#NAME                the entry of that name in a composition file
//	packed:/path             a packed store
//	packed+s3://bucket/path, packed+gs://bucket/path, packed+az://container/path, packed+file:/path, packed+memory:
//	                         a packed store in a bucket; parameters as below, and single_writer=true for a service that does
//	                         not honor conditional writes, so that only one process at a time may write
//	memory:                  a new, empty store, gone with the process; also memory://
//	objectstore+file:/path, objectstore+s3://bucket/path, objectstore+http://host/path, objectstore+https://host/path,
//	objectstore+gs://bucket/path, objectstore+az://container/path, objectstore+memory:
//	                         objects in the layout of tvix and snix; see objects.OpenURL, also for parameters
//	grpc+http://host:port, grpc+https://host, grpc+unix:/path
//	                         the store of a server; see rpc.Dial for parameters
//	cache:?near=N&far=F      the store N before the store F; N keeps the blobs and directories of F that are read. What is
//	                         put goes to N alone, or to both with &write_through=true
//	priority:?services[0]=A&services[1]=B
//	                         the directories of A, or else those of B, and so on; read-only
//	bigtable://INSTANCE?project_id=P&table_name=T&family_name=F
//	                         directories alone, in a table of Bigtable; more parameters are is_read_only=true,
//	                         channel_size=4, timeout=4 (seconds) and app_profile_id=default
//
// packed+, objectstore, grpc, cache and bigtable also take size_rule=snix: how directories count their sizes in trees that are made
// for the store.
//
// Anything else in a URL is an error: an unknown scheme, a part that the scheme does not take, an unknown parameter, and a
// parameter that is given twice or has no value. A name with the scheme of no kind of store is a path if that exists. A
// name that begins with a slash or a dot is always a path. Open makes a near store if it does not exist, and readers
// write to it.
//
// A store is made only in a folder that exists, unless o.Parents says otherwise, and not where an earlier Open with the same
// o.MountsDir found another file system mounted: the error is a *NoPlaceError.
//
// The error is store.ErrNoStore if there is no store, store.ErrUnsupported if it would have only blobs or only
// directories, and store.ErrLocked if another process locked it for all of o.Wait. The caller closes the store, which
// closes each store that it is made of once.
func Open(ctx context.Context, spec string, o Options) (*store.Store, error) {
	e, err := parse(spec)
	if err != nil {
		return nil, err
	}
	return build(ctx, e, o)
}

// Folders returns the folders on this machine in which the store that spec names keeps its objects. They need not exist.
func Folders(spec string) ([]string, error) {
	e, err := parse(spec)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, n := range e.nodes() {
		if folder := n.kind.folder(); folder != "" {
			folders = append(folders, folder)
		}
	}
	return folders, nil
}

// Landmarks returns what identifies the Folders of spec, whatever path leads to them. A folder that does not exist or is
// empty has no landmark.
func Landmarks(spec string) ([]store.Landmark, error) {
	e, err := parse(spec)
	if err != nil {
		return nil, err
	}
	var marks []store.Landmark
	for _, n := range e.nodes() {
		mark, err := n.kind.landmark()
		switch {
		case err == nil && len(mark.Contents) > 0:
			marks = append(marks, mark)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return marks, nil
}

func (e *entry) nodes() []*node {
	b := newBuilder(Options{})
	b.plan(e.blobs, access{})
	b.plan(e.directories, access{})
	return b.order
}

func parse(spec string) (*entry, error) {
	if file, name, ok := compositionFile(spec); ok {
		c, err := Load(file)
		if err != nil {
			return nil, ofFile(file, err)
		}
		return c.entry(name)
	}
	if err := checkRemote(spec); err != nil {
		return nil, err
	}
	p := newPlanner(nil)
	n, err := p.url(tableStores, spec, "")
	if err != nil {
		scheme, _, _ := splitScheme(spec)
		return nil, &NameError{Err: fmt.Errorf("store %s: %w", quoteSpec(spec), err), Hint: hintForScheme(scheme)}
	}
	p.resolve(n)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	e := &entry{blobs: n, directories: n}
	return e, e.check()
}

// compositionFile reports whether spec names a composition file: any regular file, or any other name ending in .toml,
// except for folders and URLs. A # and a name may follow.
func compositionFile(spec string) (file, name string, ok bool) {
	if isURL(spec) {
		return "", "", false
	}
	if fi, err := os.Stat(spec); err == nil {
		return spec, "", fi.Mode().IsRegular()
	}
	file, name = SplitFile(spec)
	if fi, err := os.Stat(file); err == nil {
		return file, name, fi.Mode().IsRegular()
	}
	return file, name, filepath.Ext(file) == ".toml"
}

// SplitFile splits FILE#NAME, the name of a store in a composition file. If a file has the whole name, it is that file.
func SplitFile(spec string) (file, name string) {
	i := strings.LastIndexByte(spec, '#')
	if _, err := os.Stat(spec); err == nil || i < 0 {
		return spec, ""
	}
	return spec[:i], spec[i+1:]
}

// isURL reports whether spec begins with the scheme of a kind of store.
func isURL(spec string) bool {
	scheme, _, ok := splitScheme(spec)
	if ok {
		_, ok = newKind(kindOf(scheme))
	}
	return ok
}

// isFile reports whether spec is a path: it has no scheme, or no known one and a file has the whole name.
func isFile(spec string) bool {
	if isURL(spec) {
		return false
	}
	_, _, hasScheme := splitScheme(spec)
	_, err := os.Lstat(spec)
	return !hasScheme || err == nil
}

// splitScheme takes the scheme off spec, if it has one.
func splitScheme(spec string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(spec, ":")
	return scheme, rest, ok && isScheme(scheme)
}

// isScheme reports whether s has the form of a URL's scheme (RFC 3986, section 3.1).
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// kindOf returns the kind of store that a scheme names: the part before the first +.
func kindOf(scheme string) string {
	kind, _, _ := strings.Cut(scheme, "+")
	return kind
}

// quoteSpec returns the name of a store for messages, without secrets.
func quoteSpec(spec string) string {
	if _, _, ok := splitScheme(spec); ok {
		spec = withoutSecrets(spec)
	}
	return fmt.Sprintf("%q", spec)
}

// NameError says why nothing can be opened by the name of a store.
type NameError struct {
	Err  error
	Hint string // what to write instead, or ""
	File bool   // the name is right: it is the composition file that has a mistake
}

// Error returns the reason.
func (e *NameError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *NameError) Unwrap() error { return e.Err }

// ofFile returns the error of a composition file. If a file may not have been meant as one, it is a *NameError.
func ofFile(file string, err error) error {
	if _, there := os.Stat(file); there != nil || filepath.Ext(file) == ".toml" {
		return err
	}
	return &NameError{Err: err, File: true,
		Hint: "a file is taken for a composition file: see 'castar config --help'; a packed store is a folder"}
}

// hintForScheme returns what to write instead of a URL of another program, or "".
func hintForScheme(scheme string) string {
	buckets := map[string]string{"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
	switch bucket := buckets[strings.TrimPrefix(scheme, "packed+")]; {
	case bucket != "":
		return "write packed+" + bucket + "://BUCKET/PATH or objectstore+" + bucket + "://BUCKET/PATH"
	case scheme == "http" || scheme == "https":
		return "write grpc+" + scheme + "://HOST:PORT for a server of castar, tvix or snix, or objectstore+" + scheme +
			"://HOST/PATH for objects"
	case scheme == "file":
		return "write the path alone"
	case scheme == "ssh" || scheme == "sftp" || scheme == "rsync" || scheme == "rclone" || scheme == "rest":
		return hintAtServer
	}
	return ""
}

const hintAtServer = "run 'castar serve' on that host and write grpc+http://HOST:PORT, or mount its folder here"

// checkRemote refuses HOST:PATH and USER@HOST:PATH, as scp and rsync have them, unless a file has that name.
func checkRemote(spec string) error {
	host, path, ok := strings.Cut(spec, ":")
	if !ok || host == "" || strings.ContainsAny(host, "/") || host[0] == '.' || isURL(spec) {
		return nil
	}
	if _, err := os.Lstat(spec); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	foreign := strings.HasPrefix(path, "//") || strings.Contains(host, "+") || hintForScheme(host) != ""
	rooted := strings.HasPrefix(path, "/") || strings.HasPrefix(path, "~") || strings.Contains(host, "@")
	if foreign || !rooted {
		return nil // an unknown scheme, or a path
	}
	return &NameError{
		Err:  fmt.Errorf("store %s: castar cannot open a path on another host; a local path with a colon must begin with ./", quoteSpec(spec)),
		Hint: hintAtServer,
	}
}
