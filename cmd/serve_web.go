package cmd

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/netutil"

	"castar/export/web"
	"castar/store"
	"castar/store/rpc/server"
)

const serveWebHelp = `
--http serves web pages of the store, read-only. With --http, the server serves gRPC only if --listen is also given, or
systemd passes a socket. ADDR is as for --listen; a PORT alone can be reached only from this machine. With --token-file,
a browser sends a token as the password, with any user name; other clients may send it as a bearer token. --tls-cert and
--tls-client-ca apply too. It serves these addresses:
  /                        tags, and the last ingests; /log has all
  /tags/NAME/PATH          leads to the root of a tag; %2F is a slash in NAME
  /roots/DIGEST/PATH       a listing, or the contents of a file
  ...?archive=tar          what is there as an archive: tar, zip or nar
  ...?map                  a picture of where the bytes of a directory are
  /diff?from=ROOT&to=ROOT  what changed; each may be ROOT:path

A browser shows text and images, saves other files, and runs nothing of what is stored. The ETag of a file is its
digest, and ranges are sent. A client that sends Accept: application/json gets JSON. It has the fields of 'castar ls',
'tag', 'log' and 'diff' with --json, and also total, page, pages, next (the address of the next page), url and error. If
an answer breaks off, discard it: it is incomplete.

On loopback addresses, the server answers only requests for localhost, for IP addresses and for each --http-host. So no
web site can read the store through a browser on this machine. If --http-host is given, the rule holds on all addresses.
At most --max-downloads long files and archives are sent at once; further ones wait, and after 10 seconds get status
503. One client gets three quarters of these at most. Log lines of requests have method, path, status, bytes, took, peer
and error.`

// mostWebClients is how many connections to the pages of one address may be open. Further ones wait.
const mostWebClients = 512

// webFlags is what was typed about the web pages.
type webFlags struct {
	listen []string
	o      web.Options
}

func (f *webFlags) flags() []cli.Flag {
	return []cli.Flag{
		listFlag("http", "", &f.listen, "serve web pages at `ADDR`: PORT, HOST:PORT, unix:/PATH or a path"),
		listFlag("http-host", "", &f.o.Hosts, "answer web requests for the host `NAME`"),
		rangeFlag("max-downloads", "", &f.o.Downloads, 1, 1<<16, strconv.Itoa(web.DefaultDownloads), "send `N` long files and archives at once over HTTP"),
	}
}

// openWebListeners opens the addresses of web pages. If one cannot be opened, it closes all.
func openWebListeners(addresses []string) ([]net.Listener, error) {
	full := slices.Clone(addresses)
	for i, address := range full {
		if _, err := strconv.ParseUint(address, 10, 16); err == nil {
			full[i] = "127.0.0.1:" + address
		}
	}
	return listenAt(nil, "http", full)
}

// serveWeb answers at the listeners until stop is called, which waits for running requests until its context ends.
// failed gets the reason if a listener ends before.
func (e *env) serveWeb(f *serveFlags, of *server.Server, listeners []net.Listener, failed chan<- error) (stop func(context.Context)) {
	o := f.web.o
	o.Idle, o.Log = f.options.Idle, f.options.Log
	if tokens := f.options.Tokens; tokens != nil {
		o.IsToken = func(token string) bool {
			_, ok := tokens.Find(token)
			return ok
		}
	}
	p := &pages{of: of, o: o}
	s := web.New(nil, o).Server(f.options.TLS)
	s.Handler = p
	for _, l := range listeners {
		l, serve := netutil.LimitListener(l, mostWebClients), s.Serve
		if f.options.TLS != nil {
			serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
		}
		go serveHTTP(l, serve, failed)
		url := "http://" + l.Addr().String() + "/"
		switch {
		case l.Addr().Network() == "unix":
			url = "http+unix:" + l.Addr().String()
		case f.options.TLS != nil:
			url = "https://" + l.Addr().String() + "/"
		}
		e.print(jsonAddress{url}, url)
	}
	return func(ctx context.Context) {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
}

// serveHTTP answers at a listener. failed gets the reason if it ends before the server is closed.
func serveHTTP(l net.Listener, serve func(net.Listener) error, failed chan<- error) {
	if err := serve(l); err != http.ErrServerClosed {
		failed <- err
	}
}

// pages shows the store that a server uses, which is opened again from time to time.
type pages struct {
	of *server.Server
	o  web.Options

	mu sync.Mutex
	st *store.Store
	h  *web.Handler // of st
}

// ServeHTTP answers a request.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st, done, err := p.of.Use(r.Context())
	if err != nil {
		http.Error(w, "the store cannot be opened", http.StatusServiceUnavailable)
		return
	}
	defer done()
	p.mu.Lock()
	if st != p.st {
		p.st, p.h = st, web.New(st, p.o)
	}
	h := p.h
	p.mu.Unlock()
	h.ServeHTTP(w, r)
}
