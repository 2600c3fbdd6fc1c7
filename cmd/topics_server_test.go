package cmd

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The server of 'castar help server' runs as its unit says, with a socket from systemd, a token and a certificate.
func TestServerUnit(t *testing.T) {
	unit := strings.ReplaceAll(topics()["server"], "\\\n", "") // systemd joins these lines
	line := regexp.MustCompile(`(?m)^  ExecStart=/usr/local/bin/(.*)$`).FindStringSubmatch(unit)
	if line == nil {
		t.Fatal("no ExecStart")
	}
	dir := shortDir(t)
	command := strings.NewReplacer("/var/lib/castar", dir, "/etc/castar", dir, ":9100", ":0").Replace(line[1])
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	cert := web.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"tokens":   []byte("secret put delete alpha/\n"),
		"token":    []byte("secret\n"),
		"file":     []byte("contents"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	c := exec.Command("sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec "+command)
	c.ExtraFiles = []*os.File{socket}
	s := startServe(t, c)
	ingest := func(query string) (string, error) {
		out, err := exec.Command("castar", "ingest", "-q", "--tag", "alpha/home", "-s", s.url+"?tls-ca-cert-path="+dir+"/cert.pem"+query, dir+"/file").CombinedOutput()
		return string(out), err
	}
	if out, err := ingest("&token-path=" + dir + "/token"); err != nil {
		t.Errorf("ingest: %v: %s", err, out)
	}
	if out, err := ingest(""); err == nil || out != "castar: ingest: "+s.url+": no valid token\n" {
		t.Errorf("ingest without a token: %v: %s", err, out)
	}
	s.stop(t, syscall.SIGTERM)
}
