package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"castar/export"
	"castar/store"
	"castar/store/tree"
)

func (h *Handler) route(w *answer, r *http.Request) error {
	path := r.URL.EscapedPath()
	if h.asset(w, r, path) {
		return nil
	}
	parts, err := components(path)
	if err != nil {
		return err
	}
	switch {
	case len(parts) == 0:
		return h.home(w, r)
	case len(parts) == 1 && parts[0] == "log":
		return h.ingests(w, r)
	case len(parts) == 1 && parts[0] == "diff":
		return h.diff(w, r)
	case len(parts) == 1 && parts[0] == "open":
		return h.open(w, r)
	case len(parts) > 1 && parts[0] == "tags":
		return h.tag(w, r, parts[1], parts[2:])
	case len(parts) > 1 && parts[0] == "roots":
		return h.root(w, r, parts[1], parts[2:])
	}
	return errNotFound
}

// components returns the parts of a path between slashes, as bytes. A slash at the end does not matter.
func components(path string) ([]string, error) {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		name, err := url.PathUnescape(part)
		if err != nil || name == "" {
			return nil, errNotFound
		}
		parts[i] = name
	}
	return parts, nil
}

// treeURL returns the address of a path inside a root.
func treeURL(root store.Digest, parts ...string) string {
	var b strings.Builder
	b.WriteString("/roots/" + root.String())
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// redirect sends a client to another address of this server, for now.
func redirect(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.RawQuery != "" && r.URL.Path != "/open" {
		to += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, to, http.StatusFound)
	return nil
}

// tag leads to a path inside the root that a tag has now.
func (h *Handler) tag(w *answer, r *http.Request, name string, parts []string) error {
	if store.ValidateTag(name) != nil || !areNames(parts) {
		return errNotFound
	}
	ref, err := h.find(r.Context(), name, nil)
	if err != nil {
		return err
	}
	return redirect(w, r, treeURL(ref.RootDigest, parts...))
}

// open leads to what a reference names.
func (h *Handler) open(w *answer, r *http.Request) error {
	ref, err := h.resolve(r.Context(), strings.TrimSpace(r.URL.Query().Get("ref")))
	if err != nil {
		return err
	}
	return redirect(w, r, treeURL(ref.RootDigest, split(ref.Path)...))
}

// split returns the components of a path that a tree.Ref has.
func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// errBadRef is for what cannot name anything.
var errBadRef = &failure{status: http.StatusBadRequest, text: "This names no root, or several. Give a tag or a digest, and after a colon a path inside it."}

// resolve finds what a reference names, as tree.Resolve takes it.
func (h *Handler) resolve(ctx context.Context, ref string) (tree.Ref, error) {
	prefix := ""
	if rest, ok := strings.CutPrefix(ref, "b3:"); ok { // this colon ends no root
		prefix, ref = "b3:", rest
	}
	name, path, _ := strings.Cut(ref, ":")
	parts := slices.DeleteFunc(split(path), func(part string) bool { return part == "" || part == "." })
	if !areNames(parts) {
		return tree.Ref{}, errBadRef
	}
	return h.find(ctx, prefix+name, parts)
}

// find finds what is at parts below the root of that name.
func (h *Handler) find(ctx context.Context, name string, parts []string) (r tree.Ref, err error) {
	_, err = store.ParseDigest(name)
	isPrefix := store.IsDigestPrefix(name)
	if err != nil && !isPrefix && store.ValidateTag(name) != nil {
		return r, errBadRef
	}
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	if err := h.reads.take(ctx, ""); err != nil {
		return r, err
	}
	defer h.reads.give("")
	if r, err = tree.Resolve(ctx, h.st, name); err != nil {
		f := failureOf(err)
		switch {
		case f.status == http.StatusNotFound:
			err = &failure{f.status, fmt.Sprintf("The store does not have %s.", store.Quote(name)), err}
		case isPrefix && f.status == http.StatusInternalServerError && !store.IsCorrupt(err):
			err = &failure{errBadRef.status, errBadRef.text, err}
		}
		return r, err
	}
	if r.Node.Kind == store.KindDirectory && h.st.Directories == nil {
		return r, store.ErrUnsupported
	}
	for i, part := range parts {
		if r.Node.Kind != store.KindDirectory { // symlinks are not followed
			return r, errNotFound
		}
		dir, err := h.st.Directories.Get(ctx, r.Node.Digest)
		if err != nil {
			return r, store.About("directory", r.Node.Digest, err)
		}
		var ok bool
		if r.Node, ok = dir.Find(part); !ok {
			return r, &failure{http.StatusNotFound, fmt.Sprintf("There is no %s here.", store.Quote(strings.Join(parts[:i+1], "/"))), store.ErrNotFound}
		}
	}
	r.Path = strings.Join(parts, "/")
	return r, nil
}

// areNames reports whether all parts can be names in a directory.
func areNames(parts []string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return store.ValidateName(part) != nil })
}

// target is what the address of something in a root leads to.
type target struct {
	root  store.Digest
	parts []string
	node  store.Node // has its name, if it is not the root
}

// url returns the address of what is at parts below the target.
func (t *target) url(parts ...string) string {
	return treeURL(t.root, append(slices.Clip(t.parts), parts...)...)
}

// name returns a name for a download of the target.
func (t *target) name() string {
	if t.node.Name != "" {
		return t.node.Name
	}
	return t.root.String()[:16]
}

func (t *target) ref() string {
	if len(t.parts) == 0 {
		return t.root.String()
	}
	return t.root.String() + ":" + strings.Join(t.parts, "/")
}

// crumbs returns links to the root and everything on the way to the target.
func (t *target) crumbs() []link {
	all := []link{{t.root.String()[:16], treeURL(t.root)}}
	for i, part := range t.parts {
		all = append(all, link{store.Quote(part), treeURL(t.root, t.parts[:i+1]...)})
	}
	return all
}

// root answers for a path inside a root.
func (h *Handler) root(w *answer, r *http.Request, name string, parts []string) error {
	if !areNames(parts) {
		return errNotFound
	}
	d, err := store.ParseDigest(name)
	if err != nil && !store.IsDigestPrefix(name) {
		return errNotFound
	}
	if err != nil || d.String() != name { // shortened, or spelled otherwise
		ref, err := h.find(r.Context(), name, nil)
		if err != nil {
			return err
		}
		return redirect(w, r, treeURL(ref.RootDigest, parts...))
	}
	ref, err := h.find(r.Context(), name, parts)
	if err != nil {
		return err
	}
	t := &target{root: d, parts: parts, node: ref.Node}
	q := r.URL.Query()
	switch {
	case q.Has("archive"):
		return h.archive(w, r, t, export.Format(q.Get("archive")))
	case q.Has("map"):
		return h.treemap(w, r, t)
	case t.node.Kind == store.KindDirectory:
		return h.directory(w, r, t)
	case t.node.Kind == store.KindSymlink:
		return h.symlink(w, r, t)
	}
	return h.file(w, r, t, q.Has("download"))
}
