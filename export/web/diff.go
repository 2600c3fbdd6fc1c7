package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"castar/store"
	"castar/store/tree"
	"castar/store/tree/patch"
)

const (
	// maxChanges is how many changes pages show. To show later ones takes as long as to find all before them.
	maxChanges = 100 * pageRows
	// maxText and maxLines are how large files may be for a page that shows what changed in them, and how long it is.
	maxText  = 1 << 20
	maxLines = 5000
)

// side is one of two things that are compared.
type side struct {
	Ref  string // as it was typed
	ref  tree.Ref
	URL  string
	Name string
}

// newSide finds what a reference names.
func (h *Handler) newSide(ctx context.Context, ref string) (s side, err error) {
	s.Ref = ref
	if s.ref, err = h.resolve(ctx, ref); err != nil {
		return s, err
	}
	s.URL, s.Name = s.url(""), s.ref.RootDigest.String()[:16]
	if s.ref.Tag != "" {
		s.Name = s.ref.Tag
	}
	if s.ref.Path != "" {
		s.Name += ":" + s.ref.Path
	}
	s.Name = store.Quote(s.Name)
	return s, nil
}

func (s *side) url(path string) string {
	return treeURL(s.ref.RootDigest, append(split(s.ref.Path), split(path)...)...)
}

// at returns a reference to a path below the side, by digest.
func (s *side) at(path string) string {
	path = strings.Trim(s.ref.Path+"/"+path, "/")
	return s.ref.RootDigest.String() + ":" + path
}

// node returns the side without a name.
func (s *side) node() store.Node {
	n := s.ref.Node
	n.Name = ""
	return n
}

// isFixed reports whether a reference always means the same.
func (s *side) isFixed() bool {
	d, err := store.ParseDigest(strings.SplitN(s.Ref, ":", 2)[0])
	return err == nil && d == s.ref.RootDigest
}

// change is a row of a comparison. As JSON, it is what castar diff --json prints.
type change struct {
	tree.JSONChange
	What             string `json:"-"`
	RawPath, RawFrom string `json:"-"` // RawFrom is not "" if it was renamed
	URL, FromURL     string `json:"-"`
	Lines            string `json:"-"` // the address of what changed in a file, or ""
}

// comparison is what the page of a comparison shows.
type comparison struct {
	From, To side
	Asked    bool // two sides were named
	Stat     tree.DiffStat
	Changes  []change
	Lines    []line // of two files
	Files    bool   // both are files
	Cut      bool   // there is more than pages show
	TooMany  bool   // not all renames were searched for
	Pager    *pager
}

// line is a line of a patch.
type line struct{ Class, Text string }

// diff shows what changed from one root to another, or a form that asks for them.
func (h *Handler) diff(w *answer, r *http.Request) (err error) {
	q := r.URL.Query()
	c := &comparison{From: side{Ref: strings.TrimSpace(q.Get("from"))}, To: side{Ref: strings.TrimSpace(q.Get("to"))}}
	p := &page{template: "diff", Title: "Compare", Data: c}
	if c.From.Ref == "" || c.To.Ref == "" {
		p.JSON = struct {
			Error string `json:"error"`
		}{"from and to are needed"}
		return h.show(w, r, p)
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	if c.From, err = h.newSide(ctx, c.From.Ref); err == nil {
		c.To, err = h.newSide(ctx, c.To.Ref)
	}
	if err != nil {
		return err
	}
	c.Asked = true
	c.Files = c.From.ref.Node.Kind == store.KindFile && c.To.ref.Node.Kind == store.KindFile
	p.Title, p.immutable = c.From.Name+" → "+c.To.Name, c.From.isFixed() && c.To.isFixed()
	if err := h.compare(ctx, r, c, p); err != nil {
		return err
	}
	return h.show(w, r, p)
}

func (h *Handler) compare(ctx context.Context, r *http.Request, c *comparison, p *page) error {
	if err := h.reads.take(ctx, ""); err != nil {
		return err
	}
	defer h.reads.give("")
	if c.Files {
		return h.compareFiles(ctx, c, p)
	}
	return h.compareTrees(ctx, r, c, p)
}

// compareTrees finds the changes of one page.
func (h *Handler) compareTrees(ctx context.Context, r *http.Request, c *comparison, p *page) (err error) {
	a, b := tree.Side{Directories: h.st.Directories, Root: c.From.node()}, tree.Side{Directories: h.st.Directories, Root: c.To.node()}
	o := tree.DiffOptions{TooMany: func() { c.TooMany = true }}
	if c.Pager, err = newPager(r, maxChanges); err != nil {
		return err
	}
	if c.Stat, err = tree.CountDiff(ctx, a, b, o); err != nil {
		return err
	}
	from, to := c.Pager.bounds(maxChanges)
	n := 0
	c.Changes = []change{}
	for ch, err := range tree.Diff(ctx, a, b, o) {
		if err != nil {
			return err
		}
		if n++; n > to {
			break
		}
		if n > from {
			c.Changes = append(c.Changes, c.row(&ch))
		}
	}
	if n <= from && c.Pager.Page > 1 {
		return fail(http.StatusNotFound, "There is no such page.")
	}
	c.Cut = n > maxChanges
	if n <= to {
		c.Pager.Pages, c.Pager.Next = c.Pager.Page, ""
	}
	p.JSON = struct {
		From string        `json:"from"`
		To   string        `json:"to"`
		Stat tree.DiffStat `json:"stat"`
		Page int           `json:"page"`
		Cut  bool          `json:"cut,omitempty"`
		Next string        `json:"next,omitempty"`
		List []change      `json:"changes"`
	}{c.From.at(""), c.To.at(""), c.Stat, c.Pager.Page, c.Cut, c.Pager.Next, c.Changes}
	return nil
}

func diffURL(from, to string) string {
	return "/diff?" + url.Values{"from": {from}, "to": {to}}.Encode()
}

func (c *comparison) row(ch *tree.Change) change {
	row := change{JSONChange: tree.NewJSONChange(ch), What: nameOf(ch.Op), RawPath: ch.Path, RawFrom: ch.From}
	switch ch.Op {
	case tree.Removed:
		row.URL = c.From.url(ch.Path)
	case tree.Renamed:
		row.URL, row.FromURL = c.To.url(ch.Path), c.From.url(ch.From)
	default:
		row.URL = c.To.url(ch.Path)
	}
	if ch.Op == tree.Modified && ch.Old.Size <= maxText && ch.New.Size <= maxText {
		row.Lines = diffURL(c.From.at(ch.Path), c.To.at(ch.Path))
	}
	return row
}

func nameOf(op tree.Op) string {
	return map[tree.Op]string{
		tree.Added:      "added",
		tree.Removed:    "removed",
		tree.Modified:   "changed",
		tree.Executable: "executable bit",
		tree.Retyped:    "other kind",
		tree.Retargeted: "other target",
		tree.Renamed:    "renamed",
	}[op]
}

// compareFiles finds the lines that changed in a file.
func (h *Handler) compareFiles(ctx context.Context, c *comparison, p *page) error {
	a, b := c.From.node(), c.To.node()
	c.Stat.BytesOld, c.Stat.BytesNew = a.Size, b.Size
	same := a.Digest == b.Digest && a.Size == b.Size
	c.Cut = !same && (a.Size > maxText || b.Size > maxText)
	if !same && !c.Cut {
		if err := h.lines(ctx, c, a, b); err != nil {
			return err
		}
	}
	lines := []string{}
	for _, l := range c.Lines {
		text, _ := store.JSONName(l.Text)
		lines = append(lines, text)
	}
	p.JSON = struct {
		From string        `json:"from"`
		To   string        `json:"to"`
		Old  tree.JSONNode `json:"old"`
		New  tree.JSONNode `json:"new"`
		Cut  bool          `json:"cut,omitempty"`
		List []string      `json:"lines"`
	}{c.From.at(""), c.To.at(""), tree.NewJSONNode(a), tree.NewJSONNode(b), c.Cut, lines}
	return nil
}

// lines writes a patch from a to b, as far as a page shows it.
func (h *Handler) lines(ctx context.Context, c *comparison, a, b store.Node) error {
	path := c.To.ref.Node.Name
	if path == "" {
		path = "file"
	}
	classes := map[patch.Part]string{patch.Head: "head", patch.Hunk: "hunk", patch.Added: "plus", patch.Removed: "minus"}
	pw := patch.Writer{
		New: h.st.Directories,
		Contents: func(ctx context.Context, _ int, _ string, n store.Node) ([]byte, error) {
			return h.contents(ctx, n)
		},
		Line: func(part patch.Part, text []byte) {
			if len(c.Lines) >= maxLines {
				c.Cut = true
				return
			}
			c.Lines = append(c.Lines, line{classes[part], escapeLine(text)})
		},
	}
	return pw.Change(ctx, &tree.Change{Op: tree.Modified, Path: path, Old: a, New: b})
}

// escapeLine returns a line of text for people: tabs stay, and everything that is not plain is escaped.
func escapeLine(text []byte) string {
	parts := strings.Split(string(text), "\t")
	for i := range parts {
		parts[i] = store.Escape(parts[i])
	}
	return strings.Join(parts, "\t")
}

// contents reads a file that is not long.
func (h *Handler) contents(ctx context.Context, n store.Node) ([]byte, error) {
	b, err := h.openFile(ctx, n)
	if err != nil {
		return nil, store.About("blob", n.Digest, err)
	}
	defer b.Close()
	if n.Size > maxText {
		return nil, fmt.Errorf("%s: longer than %d bytes", n.Digest, maxText)
	}
	var buf bytes.Buffer
	_, err = io.Copy(&buf, b)
	return buf.Bytes(), err
}
