package web

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"time"

	"castar/store"
)

// homeRows is how many ingests the first page shows.
const homeRows = 10

// record is a row of the tags or of the log. As JSON, it has fields of castar tag --json.
type record struct {
	Tag          string    `json:"name,omitempty"`
	Root         string    `json:"root"` // a digest
	Kind         string    `json:"kind"`
	Time         time.Time `json:"time"`
	RawSource    string    `json:"-"`
	Source       string    `json:"source,omitempty"`
	SourceBase64 string    `json:"source_base64,omitempty"`
	store.Counts
	URL string `json:"url"`
}

// newRecord returns the row of a tag. Its address is that of its root.
func newRecord(t store.Tag) (record, error) {
	d, err := t.Root.RootDigest()
	r := record{Tag: t.Name, Root: d.String(), Kind: t.Root.Kind.String(), Time: t.Time, RawSource: t.Source, Counts: t.Counts,
		URL: treeURL(d)}
	r.Source, r.SourceBase64 = store.JSONName(t.Source)
	return r, err
}

// records is what the pages of tags and ingests show.
type records struct {
	Supported bool     `json:"-"`             // the store has tags
	Tags      []record `json:"tags,omitzero"` // nil on the page of ingests only
	Ingests   []record `json:"log"`           // never nil
	Total     uint64   `json:"total"`         // tags or ingests
	Unread    uint64   `json:"unread,omitempty"`
	*pager
}

// home shows the tags and the last ingests.
func (h *Handler) home(w *answer, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	has, err := h.st.HasTags(ctx)
	if err != nil {
		return err
	}
	l := &records{Supported: has, Tags: []record{}, Ingests: []record{}, pager: &pager{Page: 1, Pages: 1}}
	if l.Supported {
		if l.Total, l.Unread, err = h.countRecords(ctx, h.st.Tags.All(ctx)); err != nil {
			return err
		}
		if l.pager, err = newPager(r, l.Total); err != nil {
			return err
		}
		from, to := l.bounds(int(l.Total))
		if l.Tags, err = collect(h.st.Tags.All(ctx), from, to); err != nil {
			return err
		}
		for i := range l.Tags {
			l.Tags[i].URL = "/tags/" + url.PathEscape(l.Tags[i].Tag)
		}
		ingests, _, err := h.countRecords(ctx, h.st.Tags.Log(ctx))
		if err != nil {
			return err
		}
		if l.Ingests, err = h.lastIngests(ctx, int(ingests), 0, homeRows); err != nil {
			return err
		}
	}
	return h.show(w, r, &page{template: "home", Title: "castar", Data: l})
}

func (h *Handler) ingests(w *answer, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	if has, err := h.st.HasTags(ctx); !has {
		return cmp.Or(err, store.ErrUnsupported)
	}
	l := &records{Supported: true}
	var err error
	if l.Total, l.Unread, err = h.countRecords(ctx, h.st.Tags.Log(ctx)); err != nil {
		return err
	}
	if l.pager, err = newPager(r, l.Total); err != nil {
		return err
	}
	from, to := l.bounds(int(l.Total))
	if l.Ingests, err = h.lastIngests(ctx, int(l.Total), from, to); err != nil {
		return err
	}
	return h.show(w, r, &page{template: "log", Title: "Log", Data: l})
}

// lastIngests returns a part of the log, newest first: from one ingest to another. countRecords has counted them all, so the
// log is read twice, and only that part is held.
func (h *Handler) lastIngests(ctx context.Context, total, from, to int) ([]record, error) {
	list, err := collect(h.st.Tags.Log(ctx), total-to, total-from)
	slices.Reverse(list)
	return list, err
}

// countRecords counts the records that can be read, and those that cannot. The log has the first of these.
func (h *Handler) countRecords(ctx context.Context, all iter.Seq2[store.Tag, error]) (n, unread uint64, err error) {
	for _, err := range all {
		if ctx.Err() != nil {
			return n, unread, ctx.Err()
		}
		if err == nil {
			n++
			continue
		}
		if unread++; unread == 1 {
			h.o.Log.WarnContext(ctx, "tags", "error", store.ShortMessage(err.Error()))
		}
	}
	return n, unread, nil
}

// collect returns the records that can be read, from one to another.
func collect(all iter.Seq2[store.Tag, error], from, to int) (list []record, err error) {
	list = []record{}
	i := 0
	for t, err := range all {
		if err != nil {
			continue // countRecords counts it
		}
		if i >= to {
			break
		}
		if i++; i <= from {
			continue
		}
		r, err := newRecord(t)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}
