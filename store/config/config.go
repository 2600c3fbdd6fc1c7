// Package config turns what names a store, on the command line, in the environment or in a composition file, into the
// store. Names are read by the one switch in kinds.go, composition files in file.go; plan.go finds what refers to what,
// and build.go builds it.
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
)

// Options say how a store is opened. A kind of store ignores those that mean nothing to it.
type Options struct {
	Create    bool          // make the store where there is none
	New       bool          // with Create: refuse a store that is there; packed stores only
	ReadOnly  bool          // refuse to write, and need no permission to
	Exclusive bool          // have the store for nobody else until it is closed; not for one made of others
	Wait      time.Duration // how long to wait for other processes whose lock excludes this one; negative: for ever
	OnWait    func()        // called once when waiting begins; may be nil
	Tolerate  bool          // open a damaged store as far as it goes, to examine or mend it
}

// Open opens the store that spec names:
//
//	/path, ./path, path      the packed store there, or what the composition file there says (see Load)
//	FILE#NAME                what it says under this name
//	packed:/path             a packed store
//	memory:                  a new, empty one, gone with the process; also memory://
//	objectstore+file:/path, objectstore+s3://bucket/path, objectstore+http://host/path, objectstore+https://host/path,
//	objectstore+gs://bucket/path, objectstore+az://container/path, objectstore+memory:
//	                         objects in the layout of tvix and snix; see objects.OpenURL, also for parameters
//	grpc+http://host:port, grpc+https://host, grpc+unix:/path
//	                         the store of a server; see rpc.Dial for parameters
//	cache:?near=N&far=F      the store N before the store F, whose blobs and directories N keeps once they were read;
//	                         &write_through=true has what is put go to both, otherwise it goes to N alone
//	priority:?services[0]=A&services[1]=B
//	                         the directories of A, otherwise those of B, and so on; read-only
//	bigtable://INSTANCE?project_id=P&table_name=T&family_name=F
//	                         directories alone, in a table of Bigtable; more parameters are is_read_only=true,
//	                         channel_size=4, timeout=4 (seconds) and app_profile_id=default
//
// Of objectstore, grpc, cache and bigtable, size_rule=snix is a parameter as well: how directories count their sizes in trees
// that are made for the store.
//
// Whatever else is in a URL is an error: an unknown scheme, a host or a port that the scheme does not have, a user except
// for HTTP, a fragment, an unknown parameter, and a parameter that is given twice or has no value. What begins with the
// scheme of no kind of store is a path if it exists, and what begins with a slash or a dot is always a path. A near store
// is made if there is none, and written to by readers too.
//
// The error is store.ErrNoStore where there is none, store.ErrUnsupported where it would have only blobs or only
// directories, and store.ErrLocked where another process held it for all of o.Wait. The caller closes the store, which
// closes all that it is made of, once.
func Open(ctx context.Context, spec string, o Options) (*store.Store, error) {
	e, err := parse(spec)
	if err != nil {
		return nil, err
	}
	return build(ctx, e, o)
}

// Folders returns the folders in which the store that spec names keeps what it has, as far as they are on this machine
// and it says so. They need not be there.
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

// Landmarks returns what Folders of spec are known by, whatever path leads to them. A folder that is not there, or has
// nothing in it yet, has none.
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

// nodes returns all that e is made of.
func (e *entry) nodes() []*node {
	b := newBuilder(Options{})
	b.plan(e.blobs, access{})
	b.plan(e.directories, access{})
	return b.order
}

// parse returns what spec says is to be built.
func parse(spec string) (*entry, error) {
	if file, name, ok := compositionFile(spec); ok {
		c, err := Load(file)
		if err != nil {
			return nil, err
		}
		return c.entry(name)
	}
	p := newPlanner(nil)
	n, err := p.url(tableStores, spec, "")
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", quoteSpec(spec), err)
	}
	p.resolve(n)
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	e := &entry{blobs: n, directories: n}
	return e, e.check()
}

// compositionFile reports whether spec names a composition file: any regular file, and whatever else ends in .toml
// unless it is a folder or a URL. A # and a name may follow.
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

// SplitFile splits FILE#NAME, the name of a store in a composition file. The whole is the file where that is there.
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

// isFile reports whether spec is a path: it has no scheme, or one that means nothing but is there.
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

// kindOf returns the kind of store that a scheme names: what is before the first +.
func kindOf(scheme string) string {
	kind, _, _ := strings.Cut(scheme, "+")
	return kind
}

// quoteSpec returns what names a store for messages.
func quoteSpec(spec string) string {
	if _, _, ok := splitScheme(spec); ok {
		spec = withoutSecrets(spec)
	}
	return fmt.Sprintf("%q", spec)
}
