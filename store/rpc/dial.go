package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/query"
	"castar/store/rpc/internal/wire"
	"castar/store/traffic"
)

// Dial returns the store of the server that a URL names:
//
//	grpc+http://HOST[:PORT]     in the clear; the port is 80 where none is given
//	grpc+https://HOST[:PORT]    with TLS; the port is 443
//	grpc+unix:/PATH             a socket; also grpc+unix:///PATH
//
// A query may follow:
//
//	wait-connect=1              connect now, and fail if that fails; otherwise the first call connects
//	package=tvix, snix          the package of the server's services; otherwise the client asks the server
//	token-path=FILE             show the token in this file; with grpc+http only to this host
//	tls-ca-cert-path=FILE       trust the authorities in this file, not the system's; https only, like the next two
//	tls-client-cert-path=FILE   show this certificate
//	tls-client-key-path=FILE    the key of the certificate; both or neither
//
// Dial reads only the parts shown here; package config refuses URLs with others. It reads files at once. They are PEM,
// except for the token. The store has blobs and directories, and cannot list; RemoteTags says whether the server has tags.
// Closing the store closes the connection. ctx is only for connecting. m, which may be nil, meters the connection.
func Dial(ctx context.Context, rawURL string, m *traffic.Meter) (*store.Store, error) {
	t, err := parseTarget(rawURL, m)
	var conn *grpc.ClientConn
	if err == nil {
		conn, err = grpc.NewClient(t.address, append(dialOptions(), t.options...)...)
	}
	if err == nil && t.wait {
		if err = fromStatus(saidBy(t.name, connected(ctx, conn)), store.Digest{}); err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", rawURL, err)
	}
	id := store.Sum([]byte(t.scheme + " " + t.address))
	return New(conn, t.name, "rpc-"+hex.EncodeToString(id[:16]), t.pkg), nil
}

// dialOptions are the options that do not depend on the server.
func dialOptions() []grpc.DialOption {
	agent := "castar"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		agent += "/" + strings.Trim(info.Main.Version, "()")
	}
	pool := new(wire.Buffers)
	return []grpc.DialOption{
		grpc.WithUserAgent(agent),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(clientMessageSize), grpc.ForceCodecV2(wire.Codec{Pool: pool})),
		grpc.WithStaticStreamWindowSize(windowSize),
		grpc.WithStaticConnWindowSize(connWindowSize),
		experimental.WithBufferPool(pool),
		grpc.WithWriteBufferSize(bufferSize),
		grpc.WithReadBufferSize(bufferSize),
		// A server that was restarted is found soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 20 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
}

// connected returns when conn is connected. It does not try again. Any call does, whether the server knows it or not.
func connected(ctx context.Context, conn *grpc.ClientConn) error {
	err := conn.Invoke(ctx, grpc_health_v1.Health_Check_FullMethodName, new(grpc_health_v1.HealthCheckRequest), new(grpc_health_v1.HealthCheckResponse))
	if status.Code(err) == codes.Unavailable {
		return err
	}
	return ctx.Err()
}

// target is what a URL says.
type target struct {
	scheme, host, address string
	name                  string // in messages
	pkg                   string
	wait                  bool
	values                map[string]string // of the query
	options               []grpc.DialOption
}

// CheckURL returns the error that Dial would return for a URL, as far as that can be known without the files and the
// server that the URL names.
func CheckURL(rawURL string) error {
	_, err := splitTarget(rawURL)
	return err
}

// parseTarget reads a URL and the files that it names.
func parseTarget(rawURL string, m *traffic.Meter) (target, error) {
	t, err := splitTarget(rawURL)
	if err == nil {
		err = t.credentials(m)
	}
	if err == nil {
		err = t.token(t.values["token-path"])
	}
	return t, err
}

// splitTarget reads a URL. It leaves the names of files among the values.
func splitTarget(rawURL string) (t target, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return t, errors.New("invalid URL") // the cause may show a secret
	}
	t.scheme = strings.TrimPrefix(u.Scheme, "grpc+")
	switch u.Scheme {
	case "grpc+unix":
		err = t.unix(u)
	case "grpc+http", "grpc+https":
		err = t.at(u)
	default:
		err = fmt.Errorf("unknown scheme %q: want grpc+http, grpc+https or grpc+unix", u.Scheme)
	}
	if err == nil {
		err = t.query(u)
	}
	return t, err
}

func (t *target) unix(u *url.URL) error {
	if !filepath.IsAbs(u.Path) || u.Path == "/" {
		return errors.New("grpc+unix takes an absolute path, as in grpc+unix:/run/castar.sock")
	}
	path := u.Path
	t.address, t.name = "passthrough:"+path, u.Scheme+":"+path
	t.options = append(t.options,
		grpc.WithAuthority("localhost"), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
	return nil
}

func (t *target) at(u *url.URL) error {
	if t.host = u.Hostname(); t.host == "" {
		return fmt.Errorf("%s takes a host, as in %s://localhost:8000", u.Scheme, u.Scheme)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[t.scheme]
	}
	address := net.JoinHostPort(t.host, port)
	t.address, t.name = "dns:///"+address, u.Scheme+"://"+address
	return nil
}

// query reads the parameters. It refuses unknown ones.
func (t *target) query(u *url.URL) error {
	values, err := query.Parse(u.RawQuery)
	if err == nil {
		t.values, err = query.Once(values,
			"wait-connect", "package", "token-path", "tls-ca-cert-path", "tls-client-cert-path", "tls-client-key-path")
	}
	if err != nil {
		return err
	}
	for key := range t.values {
		if strings.HasPrefix(key, "tls-") && t.scheme != "https" {
			return errors.New("tls-... works only with grpc+https")
		}
	}
	wait, pkg := t.values["wait-connect"], t.values["package"]
	if !slices.Contains([]string{"", "0", "1"}, wait) {
		return fmt.Errorf("invalid value %q for wait-connect: want 0 or 1", wait)
	}
	packages, ok := map[string]string{"": "", "tvix": wire.TvixPackage, "snix": wire.SnixPackage}, false
	if t.pkg, ok = packages[pkg]; !ok {
		return fmt.Errorf("invalid value %q for package: want tvix or snix", pkg)
	}
	t.wait = wait == "1"
	if (t.values["tls-client-cert-path"] == "") != (t.values["tls-client-key-path"] == "") {
		return errors.New("tls-client-cert-path and tls-client-key-path go together")
	}
	return nil
}

// credentials sets up TLS for https.
func (t *target) credentials(m *traffic.Meter) error {
	if t.scheme != "https" {
		t.options = append(t.options, m.DialOptions(insecure.NewCredentials())...)
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := t.values["tls-ca-cert-path"]; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: contains no certificate", path)
		}
	}
	if cert := t.values["tls-client-cert-path"]; cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, t.values["tls-client-key-path"])
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	t.options = append(t.options, m.DialOptions(credentials.NewTLS(config))...)
	return nil
}

// token makes every call show the token in a file.
func (t *target) token(path string) error {
	if path == "" {
		return nil
	}
	if t.scheme == "http" && !isLoopback(t.host) {
		return errors.New("a token may not be sent in the clear: use grpc+https")
	}
	token, err := ReadToken(path)
	if err != nil {
		return err
	}
	t.options = append(t.options, grpc.WithPerRPCCredentials(bearer(token)))
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ReadToken returns the token in a file, without white space around it. The token must be one line of printable ASCII.
func ReadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("%s: contains no token", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s: a token is one line of printable ASCII, without space", path)
	}
	return token, nil
}

// bearer is a token as gRPC's credentials.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false because a socket and this host are safe. See target.token.
func (bearer) RequireTransportSecurity() bool { return false }
