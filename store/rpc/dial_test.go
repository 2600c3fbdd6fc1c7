package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/server"
)

func TestParseTarget(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(" secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		url, address string
		want         string // what the error says; "": none
	}{
		{"grpc+http://[::1]:12345", "dns:///[::1]:12345", ""},
		{"grpc+http://localhost", "dns:///localhost:80", ""},
		{"grpc+https://localhost", "dns:///localhost:443", ""},
		{"grpc+https://[::1]", "dns:///[::1]:443", ""},
		{"grpc+http://localhost:8000?wait-connect=1&package=snix", "dns:///localhost:8000", ""},
		{"grpc+http:localhost", "", "takes a host"},
		{"grpc+http://", "", "takes a host"},
		{"grpc+unix:/p", "passthrough:/p", ""},
		{"grpc+unix:///p", "passthrough:/p", ""},
		{"grpc+unix:/p%20q?package=tvix", "passthrough:/p q", ""},
		{"grpc+unix:p", "", "absolute path"},
		{"grpc+unix:", "", "absolute path"},
		{"grpc+unix:/", "", "absolute path"},
		{"http://localhost", "", `unknown scheme "http"`},
		{"grpc+ftp://localhost", "", `unknown scheme "grpc+ftp"`},
		{"grpc+http://localhost?wait=1", "", `unknown parameter "wait"`},
		{"grpc+http://localhost?wait-connect=2", "", `invalid value "2"`},
		{"grpc+http://localhost?wait-connect=1&wait-connect=1", "", "given twice"},
		{"grpc+http://localhost?wait-connect=", "", `parameter "wait-connect" has no value`},
		{"grpc+http://localhost?package", "", `parameter "package" has no value`},
		{"grpc+http://localhost?package=x", "", `invalid value "x" for package`},
		{"grpc+http://localhost?tls-ca-cert-path=/x", "", "only with grpc+https"},
		{"grpc+unix:/p?tls-ca-cert-path=/x", "", "only with grpc+https"},
		{"grpc+https://localhost?tls-ca-cert-path=/nowhere/x", "", "/nowhere/x: no such file"},
		{"grpc+https://localhost?tls-ca-cert-path=" + token, "", "contains no certificate"},
		{"grpc+https://localhost?tls-client-cert-path=/x", "", "go together"},
		{"grpc+https://localhost?tls-client-key-path=/x", "", "go together"},
		{"grpc+unix:/p?token-path=" + token, "passthrough:/p", ""},
		{"grpc+http://127.0.0.1:1?token-path=" + token, "dns:///127.0.0.1:1", ""},
		{"grpc+https://example.org?token-path=" + token, "dns:///example.org:443", ""},
		{"grpc+http://example.org?token-path=" + token, "", "in the clear"},
		{"grpc+unix:/p?token-path=/nowhere/x", "", "/nowhere/x: no such file"},
		{"grpc+http://local host", "", "invalid URL"},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.url, nil)
		switch {
		case tt.want == "" && (err != nil || got.address != tt.address):
			t.Errorf("%s: %q, %v, want %q", tt.url, got.address, err, tt.address)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %q", tt.url, err, tt.want)
		}
	}
}

func TestDialID(t *testing.T) {
	id := func(url string) string {
		st, err := Dial(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		return st.ID
	}
	if a, b := id("grpc+unix:/p"), id("grpc+unix:///p?wait-connect=0"); a != b || strings.ContainsAny(a, "/:?") {
		t.Errorf("%q and %q", a, b)
	}
	if a, b := id("grpc+unix:/p"), id("grpc+unix:/q"); a == b {
		t.Errorf("two servers have the ID %q", a)
	}
}

func TestWaitConnect(t *testing.T) {
	url := "grpc+unix:" + filepath.Join(t.TempDir(), "absent")
	if _, err := Dial(t.Context(), url+"?wait-connect=1", nil); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("error %v", err)
	}
	st, err := Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Blobs.Has(t.Context(), store.Digest{}); err == nil || store.IsNotFound(err) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Has: %v", err)
	}
}

// certificate is a certificate with its key, in files, and able to sign others.
type certificate struct {
	certPath, keyPath string
	cert              *x509.Certificate
	key               *ecdsa.PrivateKey
}

// issue makes a certificate. by is nil for an authority.
func issue(t *testing.T, dir, name string, by *certificate) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificate{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"), &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, key}
	signer := by
	if by == nil {
		signer = c
	}
	der, err := x509.CreateCertificate(crand.Reader, c.cert, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(c.certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(c.keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	)
	if err == nil {
		c.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveTCP starts a server on a port of this host, and returns its address.
func serveTCP(t *testing.T, o server.Options) string {
	t.Helper()
	s, err := server.New(memory.New(), o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(t.Context()), <-done); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, dir, "ca", nil)
	owner, client := issue(t, dir, "server", ca), issue(t, dir, "client", ca)
	strangers := issue(t, dir, "strangers", nil)
	stranger := issue(t, dir, "stranger", strangers)
	pair, err := tls.LoadX509KeyPair(owner.certPath, owner.keyPath)
	if err != nil {
		t.Fatal(err)
	}
	plain := &tls.Config{Certificates: []tls.Certificate{pair}}
	mutual := plain.Clone()
	mutual.ClientCAs, mutual.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	mutual.ClientCAs.AddCert(ca.cert)
	as := func(c *certificate) string {
		return "&tls-client-cert-path=" + c.certPath + "&tls-client-key-path=" + c.keyPath
	}
	tests := []struct {
		name, scheme, query string
		config              *tls.Config
		ok                  bool
	}{
		{"TLS", "https", "?tls-ca-cert-path=" + ca.certPath, plain, true},
		{"unknown authority", "https", "?tls-ca-cert-path=" + strangers.certPath, plain, false},
		{"system's authorities", "https", "", plain, false},
		{"in the clear", "http", "", plain, false},
		{"TLS to a server without", "https", "?tls-ca-cert-path=" + ca.certPath, nil, false},
		{"mutual", "https", "?tls-ca-cert-path=" + ca.certPath + as(client), mutual, true},
		{"no client certificate", "https", "?tls-ca-cert-path=" + ca.certPath, mutual, false},
		{"a stranger's", "https", "?tls-ca-cert-path=" + ca.certPath + as(stranger), mutual, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // each failure takes a second of tries
			st, err := Dial(t.Context(), "grpc+"+tt.scheme+"://"+serveTCP(t, server.Options{TLS: tt.config, AllowPut: true})+tt.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			_, err = st.Blobs.Put(t.Context(), rpctest.Random(askSize+1))
			if (err == nil) != tt.ok || store.IsNotFound(err) {
				t.Errorf("Put: %v", err)
			}
		})
	}
}

// A client goes on after its server was restarted, and fails if the new one lacks what the old one acknowledged.
func TestRestarted(t *testing.T) {
	sock := filepath.Join(shortDir(t), "s")
	start := func(backend *store.Store) (stop func()) {
		s, err := server.New(backend, server.Options{AllowPut: true})
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		return func() {
			gone, cancel := context.WithCancel(t.Context())
			cancel() // ends calls that run
			if err := errors.Join(s.Shutdown(gone), <-done); err != nil {
				t.Error(err)
			}
		}
	}
	for _, tt := range []struct {
		name          string
		synced, loses bool
		want          error
	}{
		{"nothing to lose", true, true, nil}, {"nothing lost", false, false, nil}, {"something lost", false, true, errRestarted},
	} {
		backend := memory.New()
		stop := start(backend)
		st, err := Dial(t.Context(), "grpc+unix:"+sock, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		upload, err := st.Directories.Upload(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer upload.Close()
		if _, err = st.Blobs.Put(t.Context(), []byte("before")); err == nil {
			if tt.synced {
				err = st.Sync(t.Context())
			} else {
				_, err = st.Blobs.Has(t.Context(), store.Sum([]byte("another"))) // an answer
				err = errors.Join(err, st.Blobs.(blobs).c.outbox.awaitAll(t.Context()))
			}
		}
		var child, root store.Digest
		if err == nil {
			child, err = upload.Put(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if tt.loses {
			backend = memory.New()
		}
		restarted := make(chan func(), 1)
		time.AfterFunc(100*time.Millisecond, func() { restarted <- start(backend) }) // the client asks in vain at first
		_, err = st.Blobs.Put(t.Context(), []byte("after"))
		if err == nil {
			root, err = upload.Put(t.Context(), store.Directory{{Name: "a", Kind: store.KindDirectory, Digest: child}})
		}
		if err == nil {
			err = upload.Commit(t.Context(), root)
		}
		stop = <-restarted
		if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		for _, d := range []store.Digest{child, root} {
			if _, derr := backend.Directories.Get(t.Context(), d); err == nil && derr != nil {
				t.Errorf("%s: %v", tt.name, derr)
			}
		}
		stop()
	}
}

// shortDir returns a folder with a name short enough for a socket in it (108 bytes, unix(7); 104 on darwin).
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// CheckURL reads no files, and reports everything else.
func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"grpc+https://localhost?token-path=/nowhere&tls-ca-cert-path=/nowhere":           "",
		"grpc+https://localhost?tls-client-cert-path=/nowhere&tls-client-key-path=/none": "",
		"grpc+https://localhost?tls-client-cert-path=/nowhere":                           "go together",
		"grpc+http://localhost?tokenpath=/nowhere":                                       "unknown parameter",
	} {
		if err := CheckURL(url); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
