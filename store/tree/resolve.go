// Package tree answers questions about stored trees.
package tree

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"castar/store"
)

// Ref is what a reference names, as Resolve found it.
type Ref struct {
	Root       store.Node   // what stands before the colon; its own name is empty
	RootDigest store.Digest // names Root in print
	Tag        string       // the tag that led to Root, or ""
	Path       string       // from Root to Node, without empty components; "" where they are the same
	Node       store.Node   // what Path leads to, with its name
}

// Resolve finds what ref names: ROOT, or ROOT:path/inside as Lookup takes paths. A ROOT is a whole digest in any form
// that store.ParseDigest takes, the first store.MinPrefixLen or more of its hexadecimal digits if they are unique in a
// store with a Lister, or else a tag.
//
// A digest names the directory; or else the root that a tag or the log has under it, of several the newest, which is
// how symlinks and executable files come back; or else the blob (or chunk), as a file that is not executable. Where a
// directory and a blob have the same bytes, and so the same digest, the newest such root says which it is. The size of a
// directory found by its digest is counted by the rule that the sizes below it follow. Where they do not tell, it is the
// size that is recorded, or else counted by the rule of the store.
//
// What is missing is an error that is store.ErrNotFound, and a prefix of several digests an error that lists them.
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

// Lookup returns the node at path below root, with its name. The components of path stand between slashes; empty ones
// and "." are left out, ".." is refused, and symlinks are not followed. An empty path leads to root, which may be any
// node. The error is store.ErrNotFound where a component, or a directory on the way, is missing.
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
func lookup(ctx context.Context, ds store.Directories, root store.Node, name string, parts []string) (store.Node, error) {
	node := root
	at := func(n int) string { // the first n components
		if n == 0 {
			return name
		}
		return name + ":" + strings.Join(parts[:n], "/")
	}
	for i, part := range parts {
		switch {
		case node.Kind == store.KindSymlink:
			return store.Node{}, fmt.Errorf("%s: symlink to %q, which is not followed", at(i), node.Target)
		case node.Kind != store.KindDirectory:
			return store.Node{}, fmt.Errorf("%s: not a directory", at(i))
		case ds == nil:
			return store.Node{}, fmt.Errorf("%s: directories: %w", at(i), store.ErrUnsupported)
		}
		dir, err := ds.Get(ctx, node.Digest)
		if store.IsNotFound(err) {
			return store.Node{}, fmt.Errorf("%s: directory %s: %w", at(i), node.Digest, store.ErrNotFound)
		}
		if err != nil {
			return store.Node{}, fmt.Errorf("%s: %w", at(i), err)
		}
		var ok bool
		if node, ok = dir.Find(part); !ok {
			return store.Node{}, fmt.Errorf("%s: %w", at(i+1), store.ErrNotFound)
		}
	}
	return node, nil
}

// components splits a path inside a tree.
func components(path string) ([]string, error) {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("invalid path %q: .. is not allowed", path)
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// split takes ref apart at the colon that ends its root, which is not the one in b3:<base64>.
func split(ref string) (root, path string, err error) {
	from := 0
	if strings.HasPrefix(ref, "b3:") {
		from = len("b3:")
	}
	root = ref
	if i := strings.IndexByte(ref[from:], ':'); i >= 0 {
		root, path = ref[:from+i], ref[from+i+1:]
	}
	if root == "" {
		return "", "", fmt.Errorf("%q names no root", ref)
	}
	return root, path, nil
}

func resolveRoot(ctx context.Context, st *store.Store, name string) (Ref, error) {
	whole := len(name) == 2*store.DigestSize && store.IsDigestPrefix(name)
	switch {
	case whole, strings.HasPrefix(name, "blake3-"), strings.HasPrefix(name, "b3:"):
		d, err := store.ParseDigest(name)
		if err != nil {
			return Ref{}, err
		}
		return resolveDigest(ctx, st, d)
	case store.IsDigestPrefix(name):
		d, err := complete(ctx, st, name)
		if err != nil {
			return Ref{}, err
		}
		return resolveDigest(ctx, st, d)
	}
	return resolveTag(ctx, st, name)
}

func resolveTag(ctx context.Context, st *store.Store, name string) (Ref, error) {
	if err := store.ValidateTag(name); err != nil {
		return Ref{}, err
	}
	if st.Tags == nil {
		return Ref{}, fmt.Errorf("tag %q: %w", name, store.ErrUnsupported)
	}
	t, err := st.Tags.Get(ctx, name)
	if store.IsNotFound(err) {
		err = store.ErrNotFound // the name is said here
	}
	var d store.Digest
	if err == nil {
		d, err = t.Root.RootDigest()
	}
	if err != nil {
		return Ref{}, fmt.Errorf("tag %q: %w", name, err)
	}
	return Ref{Root: t.Root, RootDigest: d, Tag: name}, nil
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

// recordedRule returns the rule by which the size of the root dir was counted that is recorded under d, or else that of
// the store.
func recordedRule(ctx context.Context, st *store.Store, d store.Digest, dir store.Directory) store.SizeRule {
	if len(dir) == 0 {
		return st.SizeRule
	}
	if r, err := findRecorded(ctx, st, d); err == nil && r.Kind == store.KindDirectory {
		for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
			if size, err := dir.Size(rule); err == nil && size == r.Size {
				return rule
			}
		}
	}
	return st.SizeRule
}

// isBlob reports whether d is that of a blob, which it may be beside that of a directory: an empty file and an empty
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
	var newest store.Tag
	var unread error
	found := false
	for r, err := range recorded(ctx, st) {
		if err != nil {
			unread = err
		} else if r.digest == d && (!found || !r.Time.Before(newest.Time)) {
			newest, found = r.Tag, true
		}
	}
	switch {
	case ctx.Err() != nil:
		return store.Node{}, ctx.Err()
	case !found:
		return store.Node{}, notFound(unread)
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

// recorded yields the log and then the tags. What cannot be read is an error, and the rest still follow: a damaged
// entry must not hide the sound ones.
func recorded(ctx context.Context, st *store.Store) iter.Seq2[recordedRoot, error] {
	return func(yield func(recordedRoot, error) bool) {
		if st.Tags == nil {
			return
		}
		for _, list := range []iter.Seq2[store.Tag, error]{st.Tags.Log(ctx), st.Tags.All(ctx)} {
			for t, err := range list {
				r := recordedRoot{Tag: t}
				if err == nil {
					r.digest, err = t.Root.RootDigest()
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

// notFound returns the error for what is not recorded, which tells of what may have been it but could not be read.
func notFound(unread error) error {
	if unread == nil {
		return store.ErrNotFound
	}
	return fmt.Errorf("%w among what can be read: %w", store.ErrNotFound, unread)
}

// maxCandidates is how many digests an error about an ambiguous prefix lists.
const maxCandidates = 10

// complete returns the one digest that begins with the hexadecimal digits of prefix, among all that the store lists
// and all recorded roots: the digest of a symlink stands for nothing that could be listed.
func complete(ctx context.Context, st *store.Store, prefix string) (store.Digest, error) {
	lower := strings.ToLower(prefix)
	if st.Lister == nil {
		return store.Digest{}, fmt.Errorf("root %s: a shortened digest: %w", prefix, store.ErrUnsupported)
	}
	padded, err := store.ParseDigest(lower + strings.Repeat("0", 2*store.DigestSize-len(lower)))
	if err != nil {
		return store.Digest{}, err
	}
	found := map[store.Digest]struct{}{}
	for d, err := range st.Lister.List(ctx, padded, len(lower)) {
		if err != nil {
			return store.Digest{}, fmt.Errorf("root %s: %w", prefix, err)
		}
		found[d] = struct{}{}
	}
	var unread error
	for r, err := range recorded(ctx, st) {
		if err != nil {
			unread = err
		} else if strings.HasPrefix(r.digest.String(), lower) {
			found[r.digest] = struct{}{}
		}
	}
	switch {
	case ctx.Err() != nil:
		return store.Digest{}, fmt.Errorf("root %s: %w", prefix, ctx.Err())
	case len(found) == 0:
		return store.Digest{}, fmt.Errorf("root %s: %w", prefix, notFound(unread))
	}
	all := slices.SortedFunc(maps.Keys(found), func(a, b store.Digest) int { return slices.Compare(a[:], b[:]) })
	if len(all) > 1 {
		return store.Digest{}, ambiguous(prefix, all)
	}
	return all[0], nil
}

// ambiguous is the error about a prefix of several digests.
func ambiguous(prefix string, all []store.Digest) error {
	var names []string
	for _, d := range all[:min(len(all), maxCandidates)] {
		names = append(names, d.String())
	}
	more := ""
	if n := len(all) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("root %s: ambiguous: %s%s", prefix, strings.Join(names, ", "), more)
}
