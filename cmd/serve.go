package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/rpc"
)

const serveHelp = `
Offers the store to other programs over gRPC, as the BlobService and DirectoryService of castore: to castar, as the
store grpc+http://ADDR, and to whatever speaks tvix.castore.v1 or snix.castore.v1. There are health checks and
reflection as well. Clients may read, and with --allow-put also store; nothing can be deleted. Tags and shortened
digests are not part of these services: clients name a root by its whole digest.

ADDR is a host and port, or a socket: unix:/PATH, or a path with a slash in it. On port 0 the system chooses one. Only
the machine itself can reach the default. Sockets that systemd passes (LISTEN_FDS) are served too, and without --listen
only they. Who may connect to a socket is up to its folder and the umask. Once clients can connect, the URL of each
address is printed, one a line.

Whoever can connect may use the store, unless --token-file or --tls-client-ca says who may. Without TLS, what is sent
can be read on its way, tokens too.

A directory tree whose upload was acknowledged is durable, with all blobs stored before it. Blobs that no tree followed
are durable within seconds.

SIGINT or SIGTERM ends the server with exit status 0: calls that are running have 10 seconds left. As long as it runs,
'castar gc' has to wait.

Log lines on stderr have a time, a level and fields; --json makes them JSON, with time, level, msg, method, code, took
(in nanoseconds), peer and error. Failed calls are logged, with --verbose all, with --quiet none.
With --json the addresses are objects: url.

--metrics serves, as text for Prometheus under /metrics, castar_rpc_calls_total and castar_rpc_call_seconds_total by
method and code, castar_rpc_calls_running, and castar_rpc_blob_bytes_total by direction.

Examples:
  castar serve                                          # read-only, for this machine
  castar serve --listen unix:/run/castar.sock --allow-put
  castar serve --listen :8000 --tls-cert cert.pem --tls-key key.pem --token-file token
  castar export -s grpc+unix:/run/castar.sock ROOT DEST # a client`

// serveFlags is what was typed after castar serve.
type serveFlags struct {
	listen              string
	cert, key, clientCA string
	tokenFile, metrics  string
	options             rpc.ServerOptions
}

const (
	defaultListen = "[::1]:8000" // where clients of tvix and snix look
	// stopTime is how long calls may go on when the server is to stop.
	stopTime = 10 * time.Second
)

func (e *env) serveCommand() *cli.Command {
	var f serveFlags
	return &cli.Command{
		Name:        "serve",
		Usage:       "offer the store over gRPC",
		UsageText:   "castar serve [flags]",
		Description: serveHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Aliases: []string{"l"}, Destination: &f.listen, DefaultText: defaultListen, Usage: "serve at `ADDR`: HOST:PORT, unix:/PATH or a path"},
			boolFlag("allow-put", "", &f.options.AllowPut, "let clients store; makes the store if there is none"),
			&cli.StringFlag{Name: "tls-cert", Destination: &f.cert, Usage: "speak TLS with the certificate in `FILE` (PEM)"},
			&cli.StringFlag{Name: "tls-key", Destination: &f.key, Usage: "the certificate's key is in `FILE` (PEM)"},
			&cli.StringFlag{Name: "tls-client-ca", Destination: &f.clientCA, Usage: "serve only clients with a certificate of an authority in `FILE` (PEM)"},
			&cli.StringFlag{Name: "token-file", Destination: &f.tokenFile, Usage: "serve only clients that show the token in `FILE`"},
			&cli.StringFlag{Name: "metrics", Destination: &f.metrics, Usage: "serve metrics over HTTP at `ADDR`"},
			&cli.IntFlag{Name: "max-message", Value: rpc.DefaultMaxMessage, Destination: &f.options.MaxMessage, Usage: "take messages of up to `BYTES`"},
			&cli.IntFlag{Name: "max-streams", Value: rpc.DefaultMaxStreams, Destination: &f.options.MaxStreams, Usage: "answer `N` calls at once; others wait"},
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.NArg() > 0:
				return usagef("serve", "want no arguments, got %d", c.NArg())
			case (f.cert == "") != (f.key == ""):
				return usagef("serve", "--tls-cert and --tls-key go together")
			case f.clientCA != "" && f.cert == "":
				return usagef("serve", "--tls-client-ca works only with --tls-cert and --tls-key")
			case f.options.MaxMessage < 1 || f.options.MaxStreams < 1:
				return usagef("serve", "--max-message and --max-streams must be positive")
			}
			return e.serve(c.Context, &f)
		},
	}
}

// serve offers the store until ctx ends.
func (e *env) serve(ctx context.Context, f *serveFlags) (err error) {
	if err := f.read(); err != nil {
		return err
	}
	f.options.Log = e.logger()
	listeners, err := f.listeners()
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close() // again, where the server has closed it
		}
	}()
	mode := forRead
	if f.options.AllowPut {
		mode = forIngest
	}
	st, err := e.openStore(ctx, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return e.serveStore(ctx, f, st, listeners)
}

// serveStore answers at all listeners until ctx ends or one of them fails.
func (e *env) serveStore(ctx context.Context, f *serveFlags, st *store.Store, listeners []net.Listener) error {
	server, err := rpc.NewServer(st, f.options)
	if err != nil {
		return err
	}
	failed := make(chan error, len(listeners)+1)
	if f.metrics != "" {
		stop, err := serveMetrics(f, server, failed)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, l := range listeners {
		if f.options.TLS != nil && l.Addr().Network() == "unix" {
			return fmt.Errorf("%s: a socket is served without TLS", l.Addr())
		}
	}
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
		e.printAddress(l, f.options.TLS != nil)
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return errors.Join(err, server.Shutdown(grace))
}

// read reads the files that the flags name.
func (f *serveFlags) read() (err error) {
	if f.tokenFile != "" {
		if f.options.Token, err = rpc.ReadToken(f.tokenFile); err != nil {
			return err
		}
	}
	if f.cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", f.cert, f.key, err)
	}
	f.options.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if f.clientCA == "" {
		return nil
	}
	pem, err := os.ReadFile(f.clientCA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate in it", f.clientCA)
	}
	f.options.TLS.ClientCAs, f.options.TLS.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return nil
}

// logger returns what writes the log to stderr.
func (e *env) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	switch {
	case e.quiet:
		o.Level = slog.LevelError
	case e.verbose:
		o.Level = slog.LevelDebug
	}
	if e.json {
		return slog.New(slog.NewJSONHandler(plainLines{e.stderr, escapeJSON}, o))
	}
	escape := func(line []byte) []byte { return []byte(store.Escape(string(line[:len(line)-1])) + "\n") }
	return slog.New(slog.NewTextHandler(plainLines{e.stderr, escape}, o))
}

// listeners opens what --listen and systemd say.
func (f *serveFlags) listeners() ([]net.Listener, error) {
	all, err := passedListeners()
	if err != nil {
		return nil, err
	}
	address := f.listen
	if address == "" && len(all) == 0 {
		address = defaultListen
	}
	if address != "" {
		l, err := listen(address)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("listen: %s: %s", address, reason(err))
		}
		all = append(all, l)
	}
	return all, nil
}

// listen opens one address. The socket of a server that is no more is replaced.
func listen(address string) (net.Listener, error) {
	path, isSocket := strings.CutPrefix(address, "unix:")
	if !isSocket && !strings.Contains(address, "/") {
		return net.Listen("tcp", address)
	}
	if path == "" {
		return nil, errors.New("no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if fi, serr := os.Lstat(path); serr != nil || fi.Mode().Type() != fs.ModeSocket {
		return nil, err
	}
	c, derr := net.Dial("unix", path)
	if !errors.Is(derr, syscall.ECONNREFUSED) {
		if derr == nil {
			c.Close()
		}
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// passedListeners returns the sockets that systemd opened for this process, by its protocol: they begin at descriptor 3
// (sd_listen_fds(3)).
func passedListeners() (all []net.Listener, err error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS: invalid value %s", quote(os.Getenv("LISTEN_FDS")))
	}
	for fd := 3; fd < 3+n; fd++ {
		file := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("descriptor %d: %s", fd, reason(err))
		}
		all = append(all, l)
	}
	return all, nil
}

// jsonAddress is an address as JSON.
type jsonAddress struct {
	URL string `json:"url"` // as -s takes it
}

// printAddress prints where clients find the server.
func (e *env) printAddress(l net.Listener, secure bool) {
	url := "grpc+http://" + l.Addr().String()
	switch {
	case l.Addr().Network() == "unix":
		url = "grpc+unix:" + l.Addr().String()
	case secure:
		url = "grpc+https://" + l.Addr().String()
	}
	if e.json {
		e.stdout.json(jsonAddress{url})
	} else {
		fmt.Fprintln(e.stdout, url)
	}
}

// serveMetrics answers at --metrics until stop is called. failed gets the reason if it ends before.
func serveMetrics(f *serveFlags, server *rpc.Server, failed chan<- error) (stop func(), err error) {
	l, err := net.Listen("tcp", f.metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %s: %s", f.metrics, reason(err))
	}
	f.options.Log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_ = server.WriteMetrics(w) // the client is gone
	})
	h := &http.Server{Handler: mux, ReadHeaderTimeout: stopTime}
	go func() {
		if err := h.Serve(l); err != http.ErrServerClosed {
			failed <- err
		}
	}()
	return func() { h.Close() }, nil
}
