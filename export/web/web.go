// Package web shows a store in a browser: its tags and log, what is in its trees, what differs between two, and where
// the bytes are. It only reads.
//
//	s := web.New(st, web.Options{}).Server(nil)
//	err := s.Serve(listener)
//
// These are the addresses:
//
//	/                              the tags, and the last ingests
//	/log                           all ingests
//	/tags/NAME/PATH                leads to the root of the tag; NAME is one component, so its slashes are %2F
//	/roots/DIGEST/PATH             a directory is a page, a file its contents; ?download saves a file
//	/roots/DIGEST/PATH?archive=tar what is there as an archive: tar, zip or nar
//	/roots/DIGEST/PATH?map         a picture of where its bytes are
//	/diff?from=REF&to=REF          what changed; a REF is ROOT or ROOT:PATH, as tree.Resolve takes it
//	/open?ref=REF                  leads to what a reference names
//
// Names are raw bytes, percent-encoded. Each page is also JSON, for clients that prefer application/json.
//
// What is stored is hostile: nothing of it runs in a browser. Text is sent as text/plain, a few kinds of images as what
// they are, and everything else as a download. Pages have no scripts, and a policy forbids all. Clients are not trusted
// either: requests and downloads at the same time are limited, each has a time limit or must make progress, and errors
// name no paths and hosts. The log has them.
package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"castar/export"
	"castar/store"
)

// Options say what a Handler does. The zero value shows everything to everybody.
type Options struct {
	IsToken   func(string) bool // whether a client may show that, as a bearer token or as a password; nil: none is needed
	Hosts     []string          // names of this server; see Handler
	Downloads int               // long files and archives that are sent at once; 0 for DefaultDownloads
	Idle      time.Duration     // how long a client may take nothing; 0 for DefaultIdle
	Log       *slog.Logger      // gets each request at level debug, failed ones at warn; nil: no log
}

const (
	// DefaultDownloads keeps a machine with few processors answering.
	DefaultDownloads = 32
	// DefaultIdle is longer than a working client ever needs.
	DefaultIdle = 2 * time.Minute

	// maxRequests is how many requests are answered at once.
	maxRequests = 128
	// maxReads is how many requests look something up at once. A directory may take hundreds of MB while it is read.
	maxReads = 8
	// patience is how long a request waits for its turn.
	patience = 10 * time.Second
	// pageTime is how long it may take to find out what a page shows.
	pageTime = 30 * time.Second
	// maxHeaders is how long the headers of a request may be, in bytes. A path may have many names of 255 bytes, each of
	// them encoded as three.
	maxHeaders = 64 << 10
	// piece is how much a client must take before it counts as idle, in bytes.
	piece = 64 << 10
)

// Handler shows a store. It implements http.Handler.
//
// A connection from this machine may be that of a browser that was sent here by a hostile page, under a name that it
// made stand for this machine. So on loopback addresses, and everywhere if Options.Hosts names some, only requests for
// Options.Hosts, localhost and IP addresses are answered.
type Handler struct {
	st        *store.Store
	o         Options
	pages     *pages
	requests  *slots
	downloads *slots
	reads     *slots
	archiver  func(ctx context.Context, root store.Node, w io.Writer, o export.ArchiveOptions) error
}

// New returns a Handler for st, which the caller closes after the last request.
func New(st *store.Store, o Options) *Handler {
	o.Downloads = cmp.Or(max(o.Downloads, 0), DefaultDownloads)
	o.Idle = cmp.Or(max(o.Idle, 0), DefaultIdle)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{
		st: st, o: o, pages: newPages(),
		requests: newSlots(maxRequests), downloads: newSlots(o.Downloads), reads: newSlots(maxReads),
		archiver: func(ctx context.Context, root store.Node, w io.Writer, o export.ArchiveOptions) error {
			_, err := export.Archive(ctx, st, root, w, o)
			return err
		},
	}
}

// Server returns a server with limits for h. With config, its Serve speaks TLS only through ServeTLS(l, "", "").
func (h *Handler) Server(config *tls.Config) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: config,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       h.o.Idle,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(h.o.Log.Handler(), slog.LevelDebug),
	}
}

// policy forbids pages everything but the style sheet, pictures of this server, and forms that lead to it.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// storedPolicy is for what is stored. As sandbox, nothing in it may run or reach this server.
const storedPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	a := &answer{ResponseWriter: w, control: http.NewResponseController(w), idle: h.o.Idle}
	err := error(errAborted) // unless it returns
	defer func() { h.log(r, a, err, time.Since(begun)) }()
	for key, value := range map[string]string{
		"Content-Security-Policy":      policy,
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Cache-Control":                "no-cache",
	} {
		w.Header().Set(key, value)
	}
	if h.o.IsToken != nil {
		w.Header().Set("Vary", "Authorization")
	}
	if err = h.admit(a, r); err != nil {
		h.fail(a, r, err)
	}
}

// admit answers a request if it is allowed and its turn has come.
func (h *Handler) admit(w *answer, r *http.Request) error {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return fail(http.StatusMethodNotAllowed, "This server can only be read.")
	case r.ContentLength != 0:
		_ = w.control.SetReadDeadline(time.Now().Add(time.Second)) // for what is read of it all the same
		w.Header().Set("Connection", "close")
		return fail(http.StatusRequestEntityTooLarge, "This server takes nothing.")
	case !h.isHost(r):
		return fail(http.StatusMisdirectedRequest, "This server does not answer for that host name. 'castar serve --help' says how to allow it.")
	case !h.isAllowed(r):
		w.Header().Set("WWW-Authenticate", `Basic realm="castar: the password is the token", charset="UTF-8"`)
		return fail(http.StatusUnauthorized, "This server needs its token: as a bearer token, or as a password with any user name.")
	}
	client := clientOf(r)
	if err := h.requests.take(r.Context(), client); err != nil {
		return err
	}
	defer h.requests.give(client)
	return h.route(w, r)
}

// isHost reports whether a request is for a name of this server.
func (h *Handler) isHost(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, isTCP := local.(*net.TCPAddr)
	if len(h.o.Hosts) == 0 && !(isTCP && tcp.IP.IsLoopback()) {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	same := func(name string) bool { return strings.EqualFold(name, host) }
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.ContainsFunc(h.o.Hosts, same)
}

// isAllowed reports whether a request shows the token.
func (h *Handler) isAllowed(r *http.Request) bool {
	if h.o.IsToken == nil {
		return true
	}
	_, token, ok := r.BasicAuth()
	if !ok {
		var scheme string
		scheme, token, _ = strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "bearer") {
			return false
		}
	}
	return h.o.IsToken(token)
}

// log records how a request ended. It tells no header and no query.
func (h *Handler) log(r *http.Request, a *answer, err error, took time.Duration) {
	level := slog.LevelDebug
	if f := failureOf(err); f != nil && f.status >= 500 && r.Context().Err() == nil { // and the client is there
		level = slog.LevelWarn
	}
	if !h.o.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []any{"method", r.Method, "path", store.ShortPath(r.URL.EscapedPath()), "status", a.status, "bytes", a.sent, "took", took, "peer", r.RemoteAddr}
	if err != nil {
		attrs = append(attrs, "error", store.ShortMessage(err.Error()))
	}
	h.o.Log.Log(r.Context(), level, "http", attrs...)
}
