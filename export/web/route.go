package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"castar/store"
	"castar/store/tree"
)

// route answers a request by its path.
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
	return "/roots/" + root.String() + pathURL(parts)
}

func pathURL(parts []string) string {
	var b strings.Builder
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
	ref, err := h.resolve(r.Context(), name)
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

// resolve finds what a reference names. What a user can get wrong in one is an error that says so.
func (h *Handler) resolve(ctx context.Context, ref string) (tree.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	if err := h.reads.take(ctx); err != nil {
		return tree.Ref{}, err
	}
	defer h.reads.give()
	f, err := tree.Resolve(ctx, h.st, ref)
	if err != nil {
		name, _, _ := strings.Cut(ref, ":")
		if g := failureOf(err); g.status == http.StatusInternalServerError && !store.IsCorrupt(err) && store.ValidateTag(name) != nil {
			return f, &failure{http.StatusBadRequest, "This names no root, or several. Give a tag or a digest, and after a colon a path inside it.", err}
		}
		if store.IsNotFound(err) {
			return f, &failure{http.StatusNotFound, fmt.Sprintf("The store does not have %s.", showName(store.ShortPath(ref))), err}
		}
	}
	return f, err
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

// ref returns the target as a reference.
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
		all = append(all, link{showName(part), treeURL(t.root, t.parts[:i+1]...)})
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
		ref, err := h.resolve(r.Context(), name)
		if err != nil {
			return err
		}
		return redirect(w, r, treeURL(ref.RootDigest, parts...))
	}
	ref, err := h.resolve(r.Context(), d.String()+":"+strings.Join(parts, "/"))
	if err != nil {
		return err
	}
	t := &target{root: d, parts: parts, node: ref.Node}
	q := r.URL.Query()
	switch {
	case q.Has("archive"):
		return h.archive(w, r, t, q.Get("archive"))
	case q.Has("map"):
		return h.treemap(w, r, t)
	case t.node.Kind == store.KindDirectory:
		return h.directory(w, r, t)
	case t.node.Kind == store.KindSymlink:
		return h.symlink(w, r, t)
	}
	return h.file(w, r, t, q.Has("download"))
}
