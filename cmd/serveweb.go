package cmd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/urfave/cli/v2"

	"castar/export/web"
	"castar/store"
)

const serveWebHelp = `
--http serves the store to browsers: tags and the log, listings, files, archives
of directories, comparisons, and pictures of where the bytes are. It serves alone,
or beside gRPC if there is a --listen too, and only reads. ADDR is as for
--listen; a port without a host is one of this machine alone. The token is taken
as a bearer token and as a password with any user name; --tls-cert and
--tls-client-ca apply too. Nothing that is stored is run by the browser. With
Accept: application/json, each page is JSON. Files have their digest as ETag, and
take ranges. On loopback addresses, only requests for localhost, IP addresses and
each --http-host are answered; with an --http-host this holds everywhere. A proxy
in front must keep to that, or be named. At most --max-downloads long files and
archives are sent at once. An answer that breaks off is not whole.`

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
func openWebListeners(addresses []string) (all []net.Listener, err error) {
	for _, address := range addresses {
		if _, err := strconv.ParseUint(address, 10, 16); err == nil {
			address = "127.0.0.1:" + address
		}
		l, err := listen(address)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("http: %s: %s", address, reason(err))
		}
		all = append(all, l)
	}
	return all, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close() // a server may have closed it already
	}
}

// serveWeb answers at the listeners until stop is called, which waits for running requests until its context ends.
// failed gets the reason if a listener ends before.
func (e *env) serveWeb(f *serveFlags, st *store.Store, listeners []net.Listener, failed chan<- error) (stop func(context.Context)) {
	o := f.web.o
	o.Token, o.Idle, o.Log = f.options.Token, f.options.Idle, f.options.Log
	s := web.New(st, o).Server(f.options.TLS)
	for _, l := range listeners {
		serve := s.Serve
		if f.options.TLS != nil {
			serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
		}
		go func() {
			if err := serve(l); err != http.ErrServerClosed {
				failed <- err
			}
		}()
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
