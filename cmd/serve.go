package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/netutil"

	"castar/store"
	"castar/store/rpc/server"
)

const serveHelp = `
Serves the store over gRPC. castar uses it as the store grpc+http://ADDR, with its tags and its log. Any program that
speaks tvix.castore.v1 or snix.castore.v1 can use its BlobService and DirectoryService. Health checks and reflection are
included.

Clients may read. With --allow-put they may store, record ingests in the log, and set tags that do not exist. With
--allow-delete they may also move and delete tags, 'castar forget' lines of the log, and run 'castar gc' at the server.
So 'castar ingest --tag nightly' needs both flags from its second run on, because it moves the tag. If the server has no
--allow-delete, ingest without --tag; the log still keeps each ingest.

ADDR is a host and port, or a socket: unix:/PATH, or a path with a slash in it. If the port is 0, the system chooses
one. The default address can be reached only from this machine; without IPv6 it is 127.0.0.1:8000. --listen may be
repeated. If one address cannot be opened, serve opens none and fails. Sockets that systemd passes (LISTEN_FDS) are
served too, and without --listen only those. The folder of a socket and the umask decide who may connect to it. As soon
as clients can connect, the URL of each address is printed, one a line, and systemd is told (NOTIFY_SOCKET). 'castar
help server' has units for systemd.

Everybody who can connect may use the store, unless --token-file or --tls-client-ca restricts it. Without TLS,
everything that is sent can be read on its way, tokens included.

A line of --token-file is a token, and then, in any order, "put", "delete" and a prefix of tags that ends in a slash. A
token without put only reads. No token has more rights than --allow-put and --allow-delete give. A token with a prefix
can set, move and delete only tags below it. In the log, it can forget only lines with such tags, and record only such
lines and lines without a tag. It cannot run a gc. Empty lines and lines that begin with # do not count. If the file
holds one token and nothing else, that token has all the rights that the flags give. On SIGHUP the server reads the file
again. If the new file has a mistake, the server keeps the old tokens. An example:
  s3cret-of-the-admin    put delete
  s3cret-of-alice        put delete alice/
  s3cret-of-a-browser

When the upload of a directory tree is acknowledged, the tree is durable, with all blobs stored before it. Blobs without
a tree are durable within seconds.

--memory limits the messages and answers of all clients together; the process takes up to twice as much. When it is used
up, calls wait, and a client that holds little is served before one that holds much. The server reserves a quarter of
--memory for clients whose last call was not cut off, so that they do not wait for silent clients. While others wait,
clients that neither send nor read are cut off (UNAVAILABLE). A call that waits for 30 seconds is refused
(RESOURCE_EXHAUSTED). The server cuts off a client that is silent for --idle-timeout in the middle of a call, even if no
other client waits. Between two directories of an upload, a client may be silent ten times as long. The server keeps at
most two connections for each MiB of --memory. For a further one, it closes the connection that has been silent the
longest.

One second after the last call the server closes a local store, and the next call opens it. So another process can lock
an idle store, for 'castar gc', 'forget' or 'repair'; calls that arrive during that time wait. A client that has stored
something keeps the store open until it is gone, or for 10 minutes after its last call.

'castar gc -s grpc+http://ADDR' collects garbage at the server. With --gc-every, the server does so at intervals. The
server waits until no client is in the middle of storing something, makes calls wait while the gc runs, and then serves
them.

If the server cannot write the store, for example because the disk is full, it refuses clients that store. Others can
still read. Every second the server checks whether it can write again. Data that it had acknowledged but not made
durable is lost. castar clients notice the loss, and tell the user to store the data again.

Health checks are those of grpc.health.v1. The names "" and those of the services are SERVING while clients can read.
The name castar.put is SERVING while clients may store. A health check needs a token, like every other call.

SIGINT or SIGTERM stops the server with exit status 0; running calls have 10 seconds to finish. Clients of castar go on
when the server is back within half a minute.

Each line of the log on stderr has a time, a level and fields. With --json they are JSON objects, with type (log), time,
level, msg, method, code, took (in nanoseconds), peer and error. serve logs failed calls, with --verbose all calls, and
with --quiet none. With --json, each address is an object: type (address), url.

--metrics serves text for Prometheus under /metrics: castar_rpc_calls_total and castar_rpc_call_seconds_total by method
and code, castar_rpc_calls_running, castar_rpc_blob_bytes_total by direction, and castar_rpc_put_serving, which is 1
while clients may store.
` + serveWebHelp + `

Examples:
  castar serve                                    # read-only, for this machine
  castar serve --listen unix:/run/castar.sock --allow-put
  castar serve --http 8080                        # pages for browsers here
  castar serve -l :8000 --tls-cert cert.pem --tls-key key.pem \
    --token-file tokens --allow-put --allow-delete --gc-every 24h
  castar export -s grpc+unix:/run/castar.sock ROOT DEST    # a client`

// serveFlags is what was typed after castar serve.
type serveFlags struct {
	listen              []string
	cert, key, clientCA string
	tokenFile, metrics  string
	maxMessage          int64
	gcEvery             time.Duration
	options             server.Options
	web                 webFlags
}

const (
	defaultListen  = "[::1]:8000"     // clients of tvix and snix look here
	defaultListen4 = "127.0.0.1:8000" // without IPv6
	// stopTime is how long running calls may take when the server stops.
	stopTime = 10 * time.Second
)

func (e *env) serveCommand() *cli.Command {
	f := serveFlags{maxMessage: server.DefaultMaxMessage, options: server.Options{
		Memory: server.DefaultMemory, Idle: server.DefaultIdle, MaxStreams: server.DefaultMaxStreams,
	}}
	return &cli.Command{
		Name:        "serve",
		Usage:       "offer the store over gRPC, and to browsers",
		UsageText:   "castar serve [flags]",
		Description: serveHelp,
		Flags: append([]cli.Flag{
			listFlag("listen", "l", &f.listen, "serve at `ADDR`: HOST:PORT, unix:/PATH or a path (default: "+defaultListen+"; with --http, none)"),
			boolFlag("allow-put", "", &f.options.AllowPut, "let clients store, and set new tags; make the store if there is none"),
			boolFlag("allow-delete", "", &f.options.AllowDelete, "let clients move and delete tags, forget ingests, and collect garbage"),
			durationFlag("gc-every", &f.gcEvery, "never", "collect garbage each `DURATION`, such as 24h"),
			&cli.StringFlag{Name: "tls-cert", Destination: &f.cert, Usage: "speak TLS with the certificate in `FILE` (PEM)"},
			&cli.StringFlag{Name: "tls-key", Destination: &f.key, Usage: "use the private key in `FILE` (PEM) for --tls-cert"},
			&cli.StringFlag{Name: "tls-client-ca", Destination: &f.clientCA, Usage: "serve only clients with a certificate signed by an authority in `FILE` (PEM)"},
			&cli.StringFlag{Name: "token-file", Destination: &f.tokenFile, Usage: "serve only clients that show one of the tokens in `FILE`"},
			&cli.StringFlag{Name: "metrics", Destination: &f.metrics, Usage: "serve metrics over HTTP at `ADDR`, HOST:PORT"},
			bytesFlag("max-message", &f.maxMessage, "16M", "accept messages of up to `SIZE`; SIZE is at most an eighth of --memory"),
			bytesFlag("memory", &f.options.Memory, "256M", "use `SIZE` for the messages and answers of all clients together"),
			durationFlag("idle-timeout", &f.options.Idle, shortDuration(server.DefaultIdle), "cut off a client that is silent for `DURATION` in the middle of a call"),
			rangeFlag("max-streams", "", &f.options.MaxStreams, math.MinInt, math.MaxInt, strconv.Itoa(server.DefaultMaxStreams),
				"answer `N` calls at once, and as many uploads of directories; others wait"),
		}, f.web.flags()...),
		Action: func(c *cli.Context) error {
			switch {
			case (f.cert == "") != (f.key == ""):
				return usagef("--tls-cert and --tls-key go together")
			case f.clientCA != "" && f.cert == "":
				return usagef("--tls-client-ca works only with --tls-cert and --tls-key")
			case f.maxMessage < 1:
				return usagef("--max-message must be positive")
			case f.options.MaxStreams < 1:
				return usagef("--max-streams must be positive")
			case c.IsSet("gc-every") && f.gcEvery < time.Second:
				return usagef("--gc-every must be at least 1s")
			case f.options.Idle < time.Second:
				return usagef("--idle-timeout must be at least 1s")
			case f.options.Memory < server.LeastMemory:
				return usagef("--memory must be at least %d bytes", server.LeastMemory)
			case c.IsSet("max-message") && f.maxMessage > f.options.Memory/8:
				return usagef("--memory must be at least 8 times --max-message")
			case len(f.web.listen) == 0 && (len(f.web.o.Hosts) > 0 || c.IsSet("max-downloads")):
				return usagef("--http-host and --max-downloads work only with --http")
			}
			f.maxMessage = min(f.maxMessage, f.options.Memory/8)
			f.options.MaxMessage = int(f.maxMessage)
			return e.serve(c.Context, &f)
		},
	}
}

// serve offers the store until ctx ends.
func (e *env) serve(ctx context.Context, f *serveFlags) (err error) {
	f.options.Log = e.logger()
	if err := f.read(); err != nil {
		return err
	}
	f.rereadTokens(ctx)
	debug.SetMemoryLimit(f.options.Memory * 3 / 2) // collect garbage before it doubles the memory
	listeners, err := openListeners(f.listen, len(f.web.listen) > 0)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	if f.options.AllowPut && len(listeners) == 0 {
		return usagef("--http only reads: --allow-put also needs --listen")
	}
	pages, err := openWebListeners(f.web.listen)
	if err != nil {
		return err
	}
	defer closeAll(pages)
	st, err := e.openServed(ctx, f)
	if err != nil {
		return err
	}
	return e.serveStore(ctx, f, st, listeners, pages)
}

// serveStore answers at all listeners, and at those of web pages, until ctx ends or one of them fails. It closes st.
func (e *env) serveStore(ctx context.Context, f *serveFlags, st *store.Store, listeners, pages []net.Listener) (err error) {
	s, err := server.New(st, f.options)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	stopWeb := func(context.Context) {}
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		stopWeb(grace)
		err = errors.Join(err, s.Shutdown(grace))
	}()
	failed := make(chan error, len(listeners)+len(pages)+1)
	if f.metrics != "" {
		stop, err := serveMetrics(f, s, failed)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, l := range slices.Concat(listeners, pages) {
		if f.options.TLS != nil && l.Addr().Network() == "unix" {
			return fmt.Errorf("%s: a socket does not use TLS", l.Addr())
		}
	}
	for _, l := range listeners {
		go func() { failed <- s.Serve(l) }()
		e.printAddress(l, f.options.TLS != nil)
	}
	stopWeb = e.serveWeb(f, s, pages, failed)
	go f.tend(ctx, s)
	tellSystemd("READY=1")
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	tellSystemd("STOPPING=1")
	return err
}

// read reads the files that the flags name.
func (f *serveFlags) read() (err error) {
	if f.tokenFile != "" {
		list, err := f.readTokens()
		if err != nil {
			return err
		}
		f.options.Tokens = server.NewTokens(list...)
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
		return fmt.Errorf("%s: contains no certificate", f.clientCA)
	}
	f.options.TLS.ClientCAs, f.options.TLS.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return nil
}

// logger returns a logger that writes to stderr.
func (e *env) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	switch {
	case e.quiet:
		o.Level = slog.LevelError
	case e.verbose:
		o.Level = slog.LevelDebug
	}
	if e.json {
		return slog.New(slog.NewJSONHandler(plainLines{e.stderr, escapeJSON}, o)).With("type", "log")
	}
	escape := func(line []byte) []byte { return []byte(store.Escape(string(line[:len(line)-1])) + "\n") }
	return slog.New(slog.NewTextHandler(plainLines{e.stderr, escape}, o))
}

// serveMetrics answers at --metrics until stop is called. failed gets the reason if it ends before.
func serveMetrics(f *serveFlags, s *server.Server, failed chan<- error) (stop func(), err error) {
	l, err := net.Listen("tcp", f.metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %s: %s", f.metrics, reason(err))
	}
	f.options.Log.Info("metrics", "url", "http://"+l.Addr().String()+"/metrics")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_ = s.WriteMetrics(w) // the client is gone
	})
	h := &http.Server{Handler: mux, ReadHeaderTimeout: stopTime, WriteTimeout: stopTime, IdleTimeout: time.Minute}
	go serveHTTP(netutil.LimitListener(l, 16), h.Serve, failed)
	return func() { h.Close() }, nil
}
