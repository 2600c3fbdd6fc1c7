package web

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"html/template"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"castar/store"
)

//go:embed pages
var files embed.FS

// pages is what all pages are made of.
type pages struct {
	templates *template.Template
	assets    map[string]asset // by path
}

// asset is a file that comes with the program.
type asset struct {
	kind string
	data []byte
}

func newPages() *pages {
	read := func(name string) []byte {
		b, err := files.ReadFile("pages/" + name)
		if err != nil {
			panic(err) // it is in the program
		}
		return b
	}
	style := read("style.css")
	styleURL := "/style-" + store.Sum(style).String()[:16] + ".css"
	p := &pages{assets: map[string]asset{
		styleURL:    {"text/css; charset=utf-8", style},
		"/icon.svg": {"image/svg+xml", read("icon.svg")},
	}}
	p.templates = template.Must(template.New("").Funcs(template.FuncMap{
		"style": func() string { return styleURL },
		"show":  store.Quote,
		"bytes": store.HumanBytes,
		"count": groupDigits,
		"short": func(d string) string { return d[:min(len(d), 16)] },
		"date":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(files, "pages/*.html"))
	return p
}

// page is an answer for people, or as JSON for programs.
type page struct {
	status    int    // 0 is 200
	template  string // the body
	immutable bool   // the same forever: it depends on digests only
	Title     string
	Crumbs    []link // where the page is
	Data      any    // for the template, and as JSON
	JSON      any    // in place of Data; may be nil
}

// link is a text that leads somewhere.
type link struct{ Text, URL string }

// show sends a page. Its ETag names the bytes of the answer.
func (h *Handler) show(w *answer, r *http.Request, p *page) error {
	w.Header().Add("Vary", "Accept")
	var b bytes.Buffer
	kind := "text/html; charset=utf-8"
	if wantsJSON(r) {
		kind = "application/json"
		if err := json.NewEncoder(&b).Encode(cmp.Or(p.JSON, p.Data)); err != nil {
			return err
		}
	} else if err := h.pages.templates.ExecuteTemplate(&b, p.template, p); err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	if p.immutable {
		h.setImmutable(w)
	}
	if p.status != 0 {
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		w.WriteHeader(p.status)
		if r.Method != http.MethodHead {
			_, _ = w.Write(b.Bytes()) // the client is gone
		}
		return nil
	}
	w.Header().Set("Etag", `"`+store.Sum(b.Bytes()).String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.Bytes()))
	return nil
}

// setImmutable says that an answer never changes. With a token, only the client itself may keep it.
func (h *Handler) setImmutable(w http.ResponseWriter) {
	scope := "public"
	if h.o.IsToken != nil {
		scope = "private"
	}
	w.Header().Set("Cache-Control", scope+", max-age=31536000, immutable")
}

// asset sends a file that comes with the program, if path is that of one.
func (h *Handler) asset(w *answer, r *http.Request, path string) bool {
	a, ok := h.pages.assets[path]
	if ok {
		h.setImmutable(w)
		w.Header().Set("Content-Type", a.kind)
		w.Header().Set("Etag", `"`+store.Sum(a.data).String()+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
	}
	return ok
}

// wantsJSON reports whether a client likes JSON better than HTML.
func wantsJSON(r *http.Request) bool {
	asJSON, asHTML := 0.0, 0.0
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		switch kind {
		case "application/json":
			asJSON = max(asJSON, q)
		case "text/html", "application/xhtml+xml":
			asHTML = max(asHTML, q)
		}
	}
	return asJSON > asHTML
}

// groupDigits returns a number with a thin space after each thousand.
func groupDigits(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}
