package web

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"castar/export"
	"castar/store"
	"castar/store/tree"
)

// pageRows is how many rows a page has.
const pageRows = 500

// pager is the place of a page among those that show the same list.
type pager struct {
	Page  int    `json:"page"` // from 1
	Pages int    `json:"pages"`
	Next  string `json:"next,omitempty"` // the address of the next page
	Base  string `json:"-"`              // the address without its query
	query url.Values
}

// newPager returns the page of a list of total rows that a request asks for.
func newPager(r *http.Request, total uint64) (*pager, error) {
	p := &pager{Page: 1, Pages: max(1, int((total+pageRows-1)/pageRows)), Base: r.URL.EscapedPath(), query: r.URL.Query()}
	if text := p.query.Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > p.Pages {
			return nil, fail(http.StatusNotFound, "There is no such page.")
		}
		p.Page = n
	}
	p.Next = p.other(p.Page + 1)
	return p, nil
}

// bounds returns the rows of the page: from is the first, and to the one after the last.
func (p *pager) bounds(total int) (from, to int) {
	return min((p.Page-1)*pageRows, total), min(p.Page*pageRows, total)
}

// Prev and Last return the addresses of other pages, or "".
func (p *pager) Prev() string { return p.other(p.Page - 1) }
func (p *pager) Last() string { return p.other(p.Pages) }

func (p *pager) other(n int) string {
	if n < 1 || n > p.Pages || n == p.Page {
		return ""
	}
	p.query.Set("page", strconv.Itoa(n))
	return p.Base + "?" + p.query.Encode()
}

// Query returns what a form must send besides the page.
func (p *pager) Query() (all []link) {
	for key, values := range p.query {
		if key != "page" {
			for _, v := range values {
				all = append(all, link{key, v})
			}
		}
	}
	slices.SortFunc(all, func(a, b link) int { return strings.Compare(a.Text, b.Text) })
	return all
}

// jsonPlace is what JSON says of where something is.
type jsonPlace struct {
	Root       string `json:"root"`
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"`
	tree.JSONNode
}

func newJSONPlace(t *target) jsonPlace {
	j := jsonPlace{Root: t.root.String(), JSONNode: tree.NewJSONNode(t.node)}
	j.Path, j.PathBase64 = store.JSONName(strings.Join(t.parts, "/"))
	return j
}

// entry is a row of a directory.
type entry struct {
	Name       string `json:"name"`
	NameBase64 string `json:"name_base64,omitempty"`
	tree.JSONNode
	URL  string     `json:"url"`
	Node store.Node `json:"-"`
	What string     `json:"-"` // the kind for people
	To   string     `json:"-"` // where a symlink leads, if that is in the same root
}

// directoryPage is what the page of a directory shows.
type directoryPage struct {
	jsonPlace
	Node     store.Node      `json:"-"`
	Up       string          `json:"-"` // "" of a root
	Self     string          `json:"-"`
	Ref      string          `json:"-"`
	Archives []export.Format `json:"-"`
	Total    uint64          `json:"total"`
	*pager
	Entries []entry `json:"entries"`
}

func (h *Handler) directory(w *answer, r *http.Request, t *target) error {
	nodes, total, p, err := h.entries(r, t.node.Digest)
	if err != nil {
		return err
	}
	l := &directoryPage{
		jsonPlace: newJSONPlace(t), Node: t.node, Self: t.url(), Ref: t.ref(), Archives: archives(), Total: uint64(total),
		pager: p, Entries: []entry{},
	}
	if len(t.parts) > 0 {
		l.Up = treeURL(t.root, t.parts[:len(t.parts)-1]...)
	}
	for _, n := range nodes {
		l.Entries = append(l.Entries, t.entry(n))
	}
	return h.show(w, r, &page{
		template: "directory", immutable: true, Title: store.Quote(t.name()), Crumbs: t.crumbs(), Data: l,
	})
}

// entries reads a directory, and returns the page that a request asks for, and how many entries there are in all.
func (h *Handler) entries(r *http.Request, d store.Digest) (nodes store.Directory, total int, p *pager, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	if err := h.reads.take(ctx, ""); err != nil {
		return nil, 0, nil, err
	}
	defer h.reads.give("")
	dir, err := h.st.Directories.Get(ctx, d)
	if err != nil {
		return nil, 0, nil, store.About("directory", d, err)
	}
	if p, err = newPager(r, uint64(len(dir))); err != nil {
		return nil, 0, nil, err
	}
	from, to := p.bounds(len(dir))
	return slices.Clone(dir[from:to]), len(dir), p, nil
}

func (t *target) entry(n store.Node) entry {
	e := entry{JSONNode: tree.NewJSONNode(n), URL: t.url(n.Name), Node: n, What: n.Kind.String()}
	e.Name, e.NameBase64 = store.JSONName(n.Name)
	if n.Kind == store.KindSymlink {
		e.To = t.follow(n.Target)
	} else if n.Executable {
		e.What = "executable"
	}
	return e
}

// follow returns the address where a symlink in the target leads, as far as its text tells, or "" if that is not in the
// same root.
func (t *target) follow(to string) string {
	if strings.HasPrefix(to, "/") {
		return ""
	}
	full := path.Join(strings.Join(t.parts, "/"), to)
	if full == ".." || strings.HasPrefix(full, "../") {
		return ""
	}
	if full == "." || full == "" {
		return treeURL(t.root)
	}
	if parts := strings.Split(full, "/"); areNames(parts) {
		return treeURL(t.root, parts...)
	}
	return ""
}

// symlink shows a symlink, which is not followed.
func (h *Handler) symlink(w *answer, r *http.Request, t *target) error {
	to := ""
	if len(t.parts) > 0 {
		above := target{root: t.root, parts: t.parts[:len(t.parts)-1]}
		to = above.follow(t.node.Target)
	}
	return h.show(w, r, &page{
		template: "symlink", immutable: len(t.parts) > 0, Title: store.Quote(t.name()), Crumbs: t.crumbs(),
		Data: struct{ Target, URL string }{t.node.Target, to}, JSON: newJSONPlace(t),
	})
}
