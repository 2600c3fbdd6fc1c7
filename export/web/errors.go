package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"castar/store"
)

// failure is an error with what a client is told of it.
type failure struct {
	status int
	text   string // sentences
	err    error  // why, for the log; nil: the text says it
}

// Error returns the reason.
func (f *failure) Error() string {
	if f.err != nil {
		return f.err.Error()
	}
	return f.text
}

// Unwrap returns the reason.
func (f *failure) Unwrap() error { return f.err }

func fail(status int, text string) error { return &failure{status: status, text: text} }

var (
	errNotFound = &failure{status: http.StatusNotFound, text: "There is nothing at this address."}
	errBusy     = &failure{status: http.StatusServiceUnavailable, text: "The server is busy. Try again later."}
	errAborted  = &failure{status: http.StatusInternalServerError, text: "What was sent is not whole."}
)

// failureOf returns what a client is told of an error, or nil if err is nil.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{status: http.StatusInternalServerError, err: err}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		f.status, f.text = http.StatusServiceUnavailable, "This takes too long for a page. The command line has no such limit."
	case errors.Is(err, context.Canceled):
		f.status, f.text = http.StatusRequestTimeout, "The request was cancelled."
	case store.IsCorrupt(err):
		f.text = "What is stored here is damaged. 'castar verify' says more."
	case store.IsNotFound(err):
		f.status, f.text = http.StatusNotFound, "The store does not have this."
	case errors.Is(err, store.ErrTooDeep):
		f.status, f.text = http.StatusUnprocessableEntity, "The tree has too many directories inside each other."
	case errors.Is(err, store.ErrUnsupported):
		f.status, f.text = http.StatusNotFound, "This kind of store does not keep that."
	default:
		f.text = "The server could not read the store. Its log says why."
	}
	return f
}

// fail tells the client of an error. If it has been sent something else, the connection breaks, so that nobody takes
// that for the whole.
func (h *Handler) fail(w *answer, r *http.Request, err error) {
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	f := failureOf(err)
	for _, key := range []string{"Content-Disposition", "Content-Length", "Content-Encoding", "Accept-Ranges", "Etag", "Last-Modified"} {
		w.Header().Del(key)
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cache-Control", "no-store")
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	title := http.StatusText(f.status)
	if f.status == http.StatusNotFound {
		title = "Not found"
	}
	p := &page{status: f.status, template: "error", Title: title, Data: f.text}
	p.JSON = struct {
		Error string `json:"error"`
	}{strings.TrimSuffix(f.text, ".")}
	if err := h.show(w, r, p); err != nil {
		panic(http.ErrAbortHandler)
	}
}
