package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"castar/store"
	"castar/store/tree"
)

const (
	// The picture has these units. Its text is 14 units high.
	mapWidth, mapHeight = 960, 560
	// mapBoxes is how many entries the picture and its table show by themselves.
	mapBoxes = 80
	// A box of this size or more shows what is in the directory, with room for its name above.
	innerWidth, innerHeight, titleHeight = 80, 60, 20
	letterWidth                          = 8 // of text, about
)

// box is a rectangle of a picture.
type box struct {
	X, Y, W, H float64
	Class      string // dir, file or rest
	Text       string // as much of the name as fits
	Title      string // the whole
	URL        string // "" of many entries together
	Inner      []box
}

// TextX and TextY are where the text begins.
func (b box) TextX() float64 { return b.X + 5 }
func (b box) TextY() float64 { return b.Y + 15 }

// weighed is an entry with what it holds.
type weighed struct {
	Name       string `json:"name,omitempty"` // "" of many entries together
	NameBase64 string `json:"name_base64,omitempty"`
	Kind       string `json:"kind,omitempty"`
	More       int    `json:"more,omitempty"` // how many entries they are
	store.Counts
	URL   string     `json:"url,omitempty"`
	Node  store.Node `json:"-"`
	Share string     `json:"-"`
}

// bytes returns the size that is drawn.
func (e *weighed) bytes() float64 { return float64(e.Counts.Bytes) }

// picture is what the page shows.
type picture struct {
	jsonPlace
	Self    string       `json:"-"`
	Width   int          `json:"-"`
	Height  int          `json:"-"`
	Boxes   []box        `json:"-"`
	Counts  store.Counts `json:"counts"`
	Entries []weighed    `json:"entries"`
}

// treemap shows where the bytes of a directory are. Each entry counts wherever it occurs.
func (h *Handler) treemap(w *answer, r *http.Request, t *target) error {
	if t.node.Kind != store.KindDirectory {
		return fail(http.StatusNotFound, "Only directories have a picture.")
	}
	p, err := h.picture(r.Context(), t)
	if err != nil {
		return err
	}
	return h.show(w, r, &page{
		template: "map", immutable: true, Title: store.Quote(t.name()) + ": where the bytes are", Crumbs: t.crumbs(), Data: p,
	})
}

// picture weighs a directory, and draws it.
func (h *Handler) picture(ctx context.Context, t *target) (*picture, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	if err := h.reads.take(ctx, ""); err != nil {
		return nil, err
	}
	defer h.reads.give("")
	s, err := weigh(ctx, h.st.Directories, t.node.Digest)
	if err != nil {
		return nil, err
	}
	p := &picture{jsonPlace: newJSONPlace(t), Self: t.url(), Width: mapWidth, Height: mapHeight, Counts: s.of(t.node)}
	if p.Entries, err = h.weighEntries(ctx, s, t); err != nil {
		return nil, err
	}
	p.Boxes, err = h.draw(ctx, s, t, p.Entries)
	return p, err
}

// weighEntries returns the largest entries of a directory, and the rest as one.
func (h *Handler) weighEntries(ctx context.Context, s scales, t *target) ([]weighed, error) {
	dir, err := h.st.Directories.Get(ctx, t.node.Digest)
	if err != nil {
		return nil, store.About("directory", t.node.Digest, err)
	}
	dir = slices.Clone(dir) // the store may keep it
	slices.SortStableFunc(dir, func(a, b store.Node) int { return cmp.Compare(s.of(b).Bytes, s.of(a).Bytes) })
	total := max(float64(s.of(t.node).Bytes), 1)
	all, rest := []weighed{}, weighed{}
	for i, n := range dir {
		c := s.of(n)
		if i >= mapBoxes && len(dir) > mapBoxes+1 {
			rest.More++
			rest.Counts = tree.AddCounts(rest.Counts, c)
			continue
		}
		e := weighed{Kind: n.Kind.String(), Counts: c, URL: t.url(n.Name), Node: n}
		e.Name, e.NameBase64 = store.JSONName(n.Name)
		if n.Kind == store.KindDirectory {
			e.URL += "?map"
		}
		all = append(all, e)
	}
	if rest.More > 0 {
		all = append(all, rest)
	}
	for i := range all {
		all[i].Share = fmt.Sprintf("%.1f %%", 100*all[i].bytes()/total)
	}
	return all, nil
}

// draw returns the boxes of entries, and in those that are large enough the boxes of what is in them.
func (h *Handler) draw(ctx context.Context, s scales, t *target, entries []weighed) ([]box, error) {
	entries = largestFirst(entries)
	boxes := layout(entries, box{W: mapWidth, H: mapHeight})
	for i := range boxes {
		b, e := &boxes[i], entries[i]
		if b.W < innerWidth || b.H < innerHeight || e.Node.Kind != store.KindDirectory {
			continue
		}
		inside := &target{root: t.root, parts: append(slices.Clip(t.parts), e.Node.Name), node: e.Node}
		below, err := h.weighEntries(ctx, s, inside)
		if err != nil {
			return nil, err
		}
		b.Inner = layout(largestFirst(below), box{X: b.X + 3, Y: b.Y + titleHeight, W: b.W - 6, H: b.H - titleHeight - 3})
		b.Inner = slices.DeleteFunc(b.Inner, func(b box) bool { return b.W < 3 || b.H < 3 }) // too small to be seen
	}
	return slices.DeleteFunc(boxes, func(b box) bool { return b.W*b.H < 1 }), nil
}

// largestFirst sorts entries by size, also the rest, which the table has last.
func largestFirst(entries []weighed) []weighed {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b weighed) int { return cmp.Compare(b.Counts.Bytes, a.Counts.Bytes) })
	return entries
}

// newBox completes the box of an entry.
func newBox(b box, e *weighed) box {
	name := store.Quote(e.Node.Name)
	switch {
	case e.More > 0:
		b.Class, name = "rest", fmt.Sprintf("%d more", e.More)
	case e.Node.Kind == store.KindDirectory:
		b.Class, name = "dir", name+"/"
	default:
		b.Class = "file"
	}
	b.URL, b.Title = e.URL, name+": "+store.HumanBytes(e.Counts.Bytes)
	if fits := int((b.W - 8) / letterWidth); b.H >= titleHeight && fits >= 3 {
		b.Text = clip(name, fits)
	}
	return b
}

// clip returns as much of a text as fits.
func clip(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// layout divides an area among entries, which are sorted by size, in rows of boxes that are as near to squares as can be
// (squarified treemaps, by Bruls, Huizing and van Wijk). It returns a box for each entry; entries of no bytes have empty
// ones.
func layout(entries []weighed, area box) []box {
	boxes := make([]box, 0, len(entries))
	left := 0.0
	for i := range entries {
		left += entries[i].bytes()
	}
	for i := 0; i < len(entries); {
		if left <= 0 || area.W <= 0 || area.H <= 0 || entries[i].bytes() == 0 {
			boxes = append(boxes, newBox(box{X: area.X, Y: area.Y}, &entries[i]))
			i++
			continue
		}
		scale := area.W * area.H / left
		short := min(area.W, area.H)
		n, sum := 0, 0.0
		for worst := 0.0; i+n < len(entries); n++ {
			next := sum + entries[i+n].bytes()
			w := ratio(entries[i].bytes()*scale, entries[i+n].bytes()*scale, next*scale, short)
			if n > 0 && w > worst {
				break
			}
			worst, sum = w, next
		}
		thick := sum * scale / short
		at := 0.0
		for j := i; j < i+n; j++ {
			long := entries[j].bytes() * scale / thick
			b := box{X: area.X + at, Y: area.Y, W: long, H: thick}
			if area.W >= area.H {
				b = box{X: area.X, Y: area.Y + at, W: thick, H: long}
			}
			boxes = append(boxes, newBox(b, &entries[j]))
			at += long
		}
		if area.W >= area.H {
			area.X, area.W = area.X+thick, area.W-thick
		} else {
			area.Y, area.H = area.Y+thick, area.H-thick
		}
		left -= sum
		i += n
	}
	return boxes
}

// ratio returns how far from a square the worst box of a row is, from the areas of its largest and smallest box and of
// all, and the length of the row.
func ratio(largest, smallest, all, length float64) float64 {
	if smallest == 0 {
		return largest * 1e9 // no box
	}
	return max(length*length*largest/(all*all), all*all/(length*length*smallest))
}

// maxWeighed is how many directories, and how many of their entries that are directories, are weighed for a page.
const maxWeighed = 1 << 19

// scales know what directories hold. They read each directory once, wherever it stands.
type scales map[store.Digest]*weight

// weight is what a directory holds, and after total also what is below it.
type weight struct {
	counts store.Counts
	below  []*weight // directories in it that total has not added, for each time that they occur
}

// weigh reads a directory and all below it.
func weigh(ctx context.Context, ds store.Directories, root store.Digest) (scales, error) {
	s := scales{}
	edges := 0
	for d, err := range ds.Walk(ctx, root) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		w := s.at(d.Digest)
		w.counts.Directories = 1
		for _, n := range d.Directory {
			if n.Kind == store.KindDirectory {
				w.below = append(w.below, s.at(n.Digest))
			} else {
				w.counts = tree.AddCounts(w.counts, s.of(n))
			}
		}
		if edges += len(w.below); edges > 4*maxWeighed || len(s) > maxWeighed {
			return nil, fail(http.StatusUnprocessableEntity, "The tree has too many directories for a picture. 'castar stats' measures it.")
		}
	}
	_, err := s.at(root).total(1)
	return s, err
}

// at returns the weight of a directory, which may be new.
func (s scales) at(d store.Digest) *weight {
	if s[d] == nil {
		s[d] = new(weight)
	}
	return s[d]
}

// of returns what a node is or holds.
func (s scales) of(n store.Node) store.Counts {
	switch n.Kind {
	case store.KindDirectory:
		return s.at(n.Digest).counts
	case store.KindFile:
		return store.Counts{Files: 1, Bytes: n.Size}
	}
	return store.Counts{Symlinks: 1}
}

// total adds to a directory what is below it, once, and returns the sum. The root has depth 1.
func (w *weight) total(depth int) (store.Counts, error) {
	if depth > store.MaxDepth {
		return w.counts, store.ErrTooDeep
	}
	for _, child := range w.below {
		c, err := child.total(depth + 1)
		if err != nil {
			return c, err
		}
		w.counts = tree.AddCounts(w.counts, c)
	}
	w.below = nil
	return w.counts, nil
}
