package cmd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store"
)

// fetch returns the body of a page. A body that breaks off is an error.
func fetch(t *testing.T, c *http.Client, url, authorization string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(b)
}

// ingestTagged makes a store with a tag v1, whose tree has one file.
func ingestTagged(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "store")
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, "hello"), []byte("hello\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("castar", "-s", path, "ingest", "--tag", "v1", in).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestServeWeb serves pages alone. What another process tags meanwhile is shown.
func TestServeWeb(t *testing.T) {
	dir := t.TempDir()
	path := ingestTagged(t, dir)
	s := startServe(t, exec.Command("castar", "-s", path, "serve", "--http", "0", "-v"))
	if !strings.HasPrefix(s.url, "http://127.0.0.1:") {
		t.Fatalf("address %q", s.url)
	}
	for url, want := range map[string]string{"": ">v1</a>", "tags/v1": ">hello</a>", "tags/v1/hello": "hello\n", "tags/v1?map": "<svg"} {
		if status, body := fetch(t, http.DefaultClient, s.url+url, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("/%s: %d, %s", url, status, body)
		}
	}
	if out, err := exec.Command("castar", "-s", path, "tag", "v2", "v1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, body := fetch(t, http.DefaultClient, s.url, ""); !strings.Contains(body, ">v2</a>") {
		t.Errorf("a new tag is not shown: %s", body)
	}
	s.stop(t, syscall.SIGTERM)
	if log := s.stderr.String(); !strings.Contains(log, "msg=http method=GET path=/tags/v1/hello status=302") {
		t.Errorf("log: %s", log)
	}
}

// TestServeWebDamage downloads a damaged file. The download breaks, and nothing of what came is wrong, so that it may be
// resumed.
func TestServeWebDamage(t *testing.T) {
	dir := t.TempDir()
	path, in, want := filepath.Join(dir, "store"), filepath.Join(dir, "in"), make([]byte, 2<<20)
	rand.Read(want)
	if err := os.WriteFile(in, want, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("castar", "-s", path, "ingest", "--tag", "v1", in).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	packs, err := filepath.Glob(filepath.Join(path, "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs: %v", err)
	}
	for _, pack := range packs {
		b, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > len(want)/2 {
			for i := range 8 << 10 { // more than lies between two chunks
				b[len(b)/2+i] ^= 1
			}
		}
		if err := os.WriteFile(pack, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServe(t, exec.Command("castar", "-s", path, "serve", "--http", "0"))
	for _, query := range []string{"", "?archive=nar"} {
		resp, err := http.Get(s.url + "tags/v1" + query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && err == nil {
			t.Errorf("a damaged file is sent without an error: %d bytes", len(got))
		}
		if resp.StatusCode == http.StatusOK && query == "" && !bytes.HasPrefix(want, got) {
			t.Error("what was sent is wrong")
		}
	}
	s.stop(t, syscall.SIGTERM)
	if log := s.stderr.String(); !strings.Contains(log, "corrupt") {
		t.Errorf("log: %s", log)
	}
}

// TestServeWebTLS serves pages and gRPC, both with TLS and a token.
func TestServeWebTLS(t *testing.T) {
	dir := t.TempDir()
	path, token := ingestTagged(t, dir), filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, pool := selfSigned(t, dir)
	c := exec.Command("castar", "-s", path, "serve", "-l", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--token-file", token)
	stdout := &lines{}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{cmd: c}
	c.Stdout, c.Stderr = w, &s.stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	w.Close()
	for strings.Count(stdout.String(), "\n") < 2 {
		if _, err := io.CopyN(stdout, r, 1); err != nil {
			t.Fatalf("%v: %s", err, &s.stderr)
		}
	}
	urls := strings.Fields(stdout.String())
	if !strings.HasPrefix(urls[0], "grpc+https://127.0.0.1:") || !strings.HasPrefix(urls[1], "https://127.0.0.1:") {
		t.Fatalf("addresses %q", urls)
	}
	for _, http2 := range []bool{true, false} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2}}
		if status, body := fetch(t, client, urls[1]+"tags/v1/hello", "Bearer s3cret"); status != http.StatusOK || body != "hello\n" {
			t.Errorf("with the token: %d, %s", status, body)
		}
		if status, body := fetch(t, client, urls[1], ""); status != http.StatusUnauthorized || strings.Contains(body, "v1") {
			t.Errorf("without the token: %d, %s", status, body)
		}
	}
	st := dial(t, urls[0]+"?token-path="+token+"&tls-ca-cert-path="+cert)
	if has, err := st.Blobs.Has(t.Context(), store.Sum([]byte("hello\n"))); !has || err != nil {
		t.Errorf("over gRPC: %v, %v", has, err)
	}
	s.stop(t, syscall.SIGINT)
	if strings.Contains(s.stderr.String(), "s3cret") {
		t.Errorf("log: %s", &s.stderr)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", private), pool
}
