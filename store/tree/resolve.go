package tree

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"castar/store"
	"castar/store/history"
)

// Ref is what a reference names, as Resolve found it.
type Ref struct {
	Root       store.Node   // what is before the colon; its own name is empty
	RootDigest store.Digest // names Root in print
	Tag        string       // the tag that led to Root, or ""
	Path       string       // from Root to Node, without empty components; "" if they are the same
	Node       store.Node   // what Path leads to, with its name
	Listing    store.Digest // of the tag or the recorded ingest that led to Root, or zero
	Ingest     store.Tag    // the recorded ingest that led to Root, or the zero Tag
}

// Resolve finds what ref names: ROOT, or ROOT:path/inside as Lookup takes paths. A ROOT is a whole digest in any form
// that store.ParseDigest takes, or the first store.MinPrefixLen or more of its hexadecimal digits if they are unique in
// a store with a Lister, or among the recorded roots of a server, or else a tag, or else a name of a recorded ingest:
// TAG~N, TAG@DATE or @N, as history.ParseName reads them, among those that History returns.
//
// A digest names the directory; or else the root that a tag or the log has under it, and of several the newest; or else
// the blob or chunk, as a file that is not executable. So symlinks and executable files come back through the log. If a
// directory and a blob have the same bytes, and so the same digest, the newest such root says which it is. The size of
// a directory found by its digest is counted by the rule that the sizes below it follow. If they do not tell, it is the
// recorded size, or else counted by the rule of the store.
//
// What is missing is an error that is store.ErrNotFound. A prefix of several digests is an error that lists them.
func Resolve(ctx context.Context, st *store.Store, ref string) (Ref, error) {
	name, path, err := split(ref)
	if err != nil {
		return Ref{}, err
	}
	parts, err := components(path)
	if err != nil {
		return Ref{}, err
	}
	r, err := resolveRoot(ctx, st, name)
	if err != nil {
		return Ref{}, err
	}
	r.Path = strings.Join(parts, "/")
	if r.Node, err = lookup(ctx, st.Directories, r.Root, name, parts); err != nil {
		return Ref{}, err
	}
	return r, nil
}

// Lookup returns the node at path below root, with its name. Slashes separate the components of path. Lookup ignores
// empty ones and ".", refuses "..", and does not follow symlinks. An empty path leads to root, which may be any node.
// The error is store.ErrNotFound if a component, or a directory on the way, is missing.
func Lookup(ctx context.Context, ds store.Directories, root store.Node, path string) (store.Node, error) {
	parts, err := components(path)
	if err != nil {
		return store.Node{}, err
	}
	nameless := root
	nameless.Name = ""
	d, err := nameless.RootDigest()
	if err != nil {
		return store.Node{}, err
	}
	return lookup(ctx, ds, root, d.String(), parts)
}

// lookup calls the root name in its errors, which end each path at the component that is to blame.
func lookup(ctx context.Context, ds store.Directories, node store.Node, name string, parts []string) (store.Node, error) {
	at, r := rootTrail(name), reader{ctx: ctx, ds: ds, deepest: anyDepth}
	for _, part := range parts {
		switch {
		case node.Kind == store.KindSymlink:
			return store.Node{}, fmt.Errorf("%s: is a symbolic link to %q, and is not followed", at, node.Target)
		case node.Kind != store.KindDirectory:
			return store.Node{}, fmt.Errorf("%s: not a directory", at)
		case ds == nil:
			return store.Node{}, fmt.Errorf("%s: directories: %w", at, store.ErrUnsupported)
		}
		dir, err := r.get(at, node.Digest)
		if err != nil {
			return store.Node{}, err
		}
		at = at.child(part)
		var ok bool
		if node, ok = dir.Find(part); !ok {
			return store.Node{}, at.wrap(store.ErrNotFound)
		}
	}
	return node, nil
}

func components(path string) ([]string, error) {
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" || part == "." })
	if slices.Contains(parts, "..") {
		return nil, fmt.Errorf("invalid path %q: .. is not allowed", path)
	}
	return parts, nil
}

// split splits ref at the colon that ends its root. The colon in b3:<base64> does not.
func split(ref string) (root, path string, err error) {
	prefix := ""
	if strings.HasPrefix(ref, "b3:") {
		prefix = "b3:"
	}
	root, path, _ = strings.Cut(ref[len(prefix):], ":")
	if root = prefix + root; root == "" {
		return "", "", fmt.Errorf("%q names no root", ref)
	}
	return root, path, nil
}

func resolveRoot(ctx context.Context, st *store.Store, name string) (Ref, error) {
	var d store.Digest
	var err error
	switch {
	case len(name) == 2*store.DigestSize && store.IsDigestPrefix(name),
		strings.HasPrefix(name, "blake3-"), strings.HasPrefix(name, "b3:"):
		d, err = store.ParseDigest(name)
	case store.IsDigestPrefix(name):
		d, err = complete(ctx, st, name)
	default:
		return resolveTag(ctx, st, name)
	}
	if err != nil {
		return Ref{}, err
	}
	return resolveDigest(ctx, st, d)
}

func resolveTag(ctx context.Context, st *store.Store, name string) (Ref, error) {
	if err := store.ValidateTag(name); err != nil {
		return Ref{}, err
	}
	if st.Tags == nil {
		return Ref{}, fmt.Errorf("tag %q: %w", name, store.ErrUnsupported)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n, isIngest := history.ParseName(name)
	past := sync.OnceValues(func() ([]store.Tag, []error) { return History(ctx, st) })
	if isIngest && st.RemoteTags != nil {
		go past() // in the same round trip
	}
	t, err := st.Tags.Get(ctx, name)
	if store.IsNotFound(err) {
		if isIngest {
			ingests, unread := past()
			return findIngest(name, n, ingests, unread)
		}
		err = store.ErrNotFound // the name is said here
	}
	var r Ref
	if err == nil {
		r, err = refTo(t, name)
	}
	if err != nil {
		return Ref{}, fmt.Errorf("tag %q: %w", name, err)
	}
	return r, nil
}

func resolveDigest(ctx context.Context, st *store.Store, d store.Digest) (Ref, error) {
	root, err := findDirectory(ctx, st, d)
	switch {
	case errors.Is(err, store.ErrUnsupported): // there may be blobs all the same
	case store.IsNotFound(err):
		root, err = findRecorded(ctx, st, d)
		if err == nil && root.Kind == store.KindDirectory {
			err = fmt.Errorf("%w: its directory is gone", store.ErrNotFound)
		}
	case err == nil && isBlob(ctx, st, d):
		if r, err := findRecorded(ctx, st, d); err == nil && r.Kind == store.KindFile {
			root = r
		}
	}
	if notRecorded := err; store.IsNotFound(err) || errors.Is(err, store.ErrUnsupported) {
		if root, err = findBlob(ctx, st, d); store.IsNotFound(err) {
			err = notRecorded
		}
	}
	if err != nil {
		return Ref{}, store.About("root", d, err)
	}
	return Ref{Root: root, RootDigest: d}, nil
}

func findDirectory(ctx context.Context, st *store.Store, d store.Digest) (store.Node, error) {
	if st.Directories == nil {
		return store.Node{}, store.ErrNotFound
	}
	dir, err := st.Directories.Get(ctx, d)
	if err != nil {
		return store.Node{}, err
	}
	rule, known, err := sizeRule(ctx, st.Directories, dir)
	if err != nil || !known { // what cannot be read does not tell either
		rule = recordedRule(ctx, st, d, dir)
	}
	size, err := dir.Size(rule)
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}, err
}

// recordedRule returns the rule that gives the root dir the size that is recorded under d, or else that of the store.
func recordedRule(ctx context.Context, st *store.Store, d store.Digest, dir store.Directory) store.SizeRule {
	if len(dir) == 0 {
		return st.SizeRule
	}
	if r, err := findRecorded(ctx, st, d); err == nil && r.Kind == store.KindDirectory {
		if rule, ok := ruleOf(dir, r.Size); ok {
			return rule
		}
	}
	return st.SizeRule
}

// isBlob reports whether there is a blob d. There may be a directory of the same digest: an empty file and an empty
// directory have the same bytes, none.
func isBlob(ctx context.Context, st *store.Store, d store.Digest) bool {
	if st.Blobs == nil {
		return false
	}
	has, err := st.Blobs.Has(ctx, d)
	return err == nil && has
}

// findRecorded returns the newest root that is recorded under d.
func findRecorded(ctx context.Context, st *store.Store, d store.Digest) (store.Node, error) {
	all, err := recorded(ctx, st, func(root store.Digest) bool { return root == d })
	if err != nil {
		return store.Node{}, err
	}
	newest := all[0]
	for _, r := range all {
		if !r.Time.Before(newest.Time) {
			newest = r
		}
	}
	return newest.Root, nil
}

func findBlob(ctx context.Context, st *store.Store, d store.Digest) (store.Node, error) {
	if st.Blobs == nil {
		return store.Node{}, store.ErrNotFound
	}
	b, err := st.Blobs.Open(ctx, d)
	if err != nil {
		return store.Node{}, err
	}
	return store.Node{Kind: store.KindFile, Digest: d, Size: b.Size()}, b.Close()
}

// recordedRoot is an entry of the log, or a tag, with the digest of its root.
type recordedRoot struct {
	store.Tag
	digest store.Digest
}

// recorded returns those entries of the log and then those tags whose digests match. It passes over what it cannot read: a
// damaged entry must not hide the sound ones. The error is store.ErrNotFound if nothing matches, and then names what could
// not be read.
func recorded(ctx context.Context, st *store.Store, match func(store.Digest) bool) (all []recordedRoot, err error) {
	if st.Tags == nil {
		return nil, store.ErrNotFound
	}
	var unread error
lists:
	for _, list := range []iter.Seq2[store.Tag, error]{st.Tags.Log(ctx), st.Tags.All(ctx)} {
		for t, err := range list {
			if errors.Is(err, store.ErrUnsupported) {
				break lists // a server has no tags
			}
			r := recordedRoot{Tag: t}
			if err == nil {
				r.digest, err = t.Root.RootDigest()
			}
			if err != nil {
				unread = err
			} else if match(r.digest) {
				all = append(all, r)
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(all) > 0:
		return all, nil
	case unread != nil:
		return nil, fmt.Errorf("%w, and some records cannot be read: %w", store.ErrNotFound, unread)
	}
	return nil, store.ErrNotFound
}

// complete returns the one digest that begins with the hexadecimal digits of prefix, among all that the store lists and
// all recorded roots. A store does not list the digest of a symlink, and a server lists nothing.
func complete(ctx context.Context, st *store.Store, prefix string) (d store.Digest, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("root %s: %w", prefix, err)
		}
	}()
	lower := strings.ToLower(prefix)
	found, err := listed(ctx, st, lower)
	if err != nil {
		return d, err
	}
	all, err := recorded(ctx, st, func(root store.Digest) bool { return strings.HasPrefix(root.String(), lower) })
	for _, r := range all {
		found[r.digest] = struct{}{}
	}
	switch {
	case ctx.Err() != nil:
		return d, ctx.Err()
	case len(found) == 0 && st.Lister == nil:
		return d, fmt.Errorf("a shortened digest that no tag and no line of the log has: %w", store.ErrUnsupported)
	case len(found) == 0:
		return d, err
	case len(found) > 1:
		return d, ambiguous(found)
	}
	for only := range found {
		d = only
	}
	return d, nil
}

// listed returns the digests that a store lists, and that begin with lowercase digits. A server lists none.
func listed(ctx context.Context, st *store.Store, digits string) (found map[store.Digest]struct{}, err error) {
	found = map[store.Digest]struct{}{}
	switch {
	case st.Lister == nil && st.RemoteTags == nil:
		return nil, fmt.Errorf("a shortened digest: %w", store.ErrUnsupported)
	case st.Lister == nil:
		return found, nil
	}
	padded, err := store.ParseDigest(digits + strings.Repeat("0", 2*store.DigestSize-len(digits)))
	if err != nil {
		return nil, err
	}
	for d, err := range st.Lister.List(ctx, padded, len(digits)) {
		if err != nil {
			return nil, err
		}
		found[d] = struct{}{}
	}
	return found, nil
}

// maxCandidates is how many digests an error about an ambiguous prefix lists.
const maxCandidates = 10

func ambiguous(found map[store.Digest]struct{}) error {
	var names []string
	for d := range found {
		names = append(names, d.String())
	}
	slices.Sort(names)
	more := ""
	if n := len(names) - maxCandidates; n > 0 {
		names, more = names[:maxCandidates], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("ambiguous: %s%s", strings.Join(names, ", "), more)
}
