package web

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestToken lets in only those who show the token, and tells it nobody.
func TestToken(t *testing.T) {
	s := newSite(t, Options{IsToken: func(token string) bool { return token == "s3cret-t0ken" }})
	root := put(t, s.st, hostile())
	basic := func(user, password string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for _, path := range []string{"/", "/log", "/style.css", "/icon.svg", treeURL(root.Digest), treeURL(root.Digest) + "/evil.html", "/nothing"} {
		for authorization, want := range map[string]bool{
			"": false, "Bearer s3cret-t0ken": true, "bearer s3cret-t0ken": true, basic("", "s3cret-t0ken"): true, basic("anybody", "s3cret-t0ken"): true,
			"Bearer s3cret": false, "Bearer s3cret-t0ken2": false, "Bearer": false, "s3cret-t0ken": false, basic("s3cret-t0ken", ""): false,
			basic("", ""): false, "Basic s3cret-t0ken": false, "Basic !": false, "Digest s3cret-t0ken": false,
		} {
			r := s.get(path, "Authorization", authorization)
			if got := r.StatusCode != http.StatusUnauthorized; got != want {
				t.Errorf("%s with %q: %s", path, authorization, r.Status)
			}
			if !want && !strings.HasPrefix(r.header("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s: %v", path, r.Header)
			}
			checkSafe(t, path, r)
		}
	}
	if r := s.get("/?token=s3cret-t0ken"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("in a query: %s", r.Status)
	}
	if log := s.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, "uthorization") || !strings.Contains(log, "status=401") {
		t.Errorf("log: %s", log)
	}
}

// TestHost refuses names that were made to stand for this machine.
func TestHost(t *testing.T) {
	loopback, other := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	socket := &net.UnixAddr{Name: "/s", Net: "unix"}
	for _, tt := range []struct {
		local net.Addr
		hosts []string
		host  string
		want  bool
	}{
		{loopback, nil, "localhost:8080", true}, {loopback, nil, "LOCALHOST", true}, {loopback, nil, "x.localhost.", true}, {loopback, nil, "127.0.0.1:8080", true},
		{loopback, nil, "[::1]:8080", true}, {loopback, nil, "[::1]", true}, {loopback, nil, "evil.example:8080", false}, {loopback, nil, "evil.example", false},
		{loopback, nil, "localhost.evil.example", false}, {loopback, nil, "notlocalhost", false}, {loopback, nil, "", false}, {loopback, nil, "127.0.0.1.evil.example", false},
		{loopback, []string{"store.example"}, "store.example", true}, {loopback, []string{"store.example"}, "STORE.example:80", true},
		{loopback, []string{"store.example"}, "evil.example", false}, {&net.TCPAddr{IP: net.IPv6loopback}, nil, "evil.example", false},
		{other, nil, "any.example", true}, {other, []string{"store.example"}, "any.example", false}, {other, []string{"store.example"}, "192.0.2.1", true},
		{socket, nil, "any.example", true},
	} {
		s := New(newSite(t, Options{}).st, Options{Hosts: tt.hosts})
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = tt.host
		r = r.WithContext(contextWith(r, tt.local))
		if got := s.isHost(r); got != tt.want {
			t.Errorf("%q at %v with %v: %v", tt.host, tt.local, tt.hosts, got)
		}
	}
	s := newSite(t, Options{})
	if r := s.get("/", "Host", "evil.example"); r.StatusCode != http.StatusMisdirectedRequest || strings.Contains(r.body, "Tags") {
		t.Errorf("%s", r.Status)
	}
}

// TestLimits refuses requests that are too large, and takes no body.
func TestLimits(t *testing.T) {
	s := newSite(t, Options{})
	send := func(request string) string {
		c, err := net.Dial("tcp", s.srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { _, _ = c.Write([]byte(request)) }() // the server may close it early
		answer := make([]byte, 12)
		_, _ = c.Read(answer)
		return string(answer)
	}
	for request, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello":                       "HTTP/1.1 413",
		"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n":                     "HTTP/1.1 413",
		"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":          "HTTP/1.1 413",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 2*maxHeaders) + "\r\n\r\n": "HTTP/1.1 431",
		"GET /" + strings.Repeat("x", 2*maxHeaders) + " HTTP/1.1\r\nHost: localhost\r\n\r\n":        "HTTP/1.1 431",
		"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n":                                 "HTTP/1.1 200",
		"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n":                              "HTTP/1.1 421",
		"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n":                                  "HTTP/1.1 405",
		"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n":                                              "HTTP/1.1 405",
	} {
		if got := send(request); got != want {
			t.Errorf("%.60q: %q", request, got)
		}
	}
}

// TestShares keeps slots for other clients.
func TestShares(t *testing.T) {
	s := newSlots(8)
	s.patience = 0
	got := map[string]int{}
	for _, client := range []string{"a", "b"} {
		for range 8 {
			if s.take(t.Context(), client) == nil {
				got[client]++
			}
		}
	}
	if got["a"] != 6 || got["b"] == 0 {
		t.Errorf("%v", got)
	}
	for client, n := range got {
		for range n {
			s.give(client)
		}
	}
	if len(s.held) != 0 || len(s.clients) != 0 {
		t.Errorf("%d held, %v", len(s.held), s.clients)
	}
	for addr, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::/64", "[fe80::1%eth0]:80": "fe80::/64", "@": "socket",
	} {
		if got := clientOf(&http.Request{RemoteAddr: addr}); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

// FuzzRequest sends any path and query. The answer is never an error of the server, and always safe.
func FuzzRequest(f *testing.F) {
	s := newSite(f, Options{})
	root := put(f, s.st, hostile())
	putTag(f, s.st, "t", root)
	in := treeURL(root.Digest)
	for _, seed := range []string{"/", "/log?page=1", in, in + "/sub?map", in + "/a%FF%FE.txt?download", "/tags/t/sub", "/diff?from=t&to=t:sub", "/open?ref=t:sub/deep",
		in + "/..%2f", "//", "/%", "/?page=-1", "/diff?from=b3:&to=blake3-", "/tags/%2F", in + "?archive=tar"} {
		f.Add(seed, "text/html")
	}
	f.Add(in, "application/json;q=0.5, */*")
	f.Fuzz(func(t *testing.T, target, accept string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{"Accept": {accept}}, Host: "localhost", RequestURI: target}
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		resp := w.Result()
		if resp.StatusCode >= 500 {
			t.Errorf("%q: %s", target, resp.Status)
		}
		checkSafe(t, u.Path, reply{resp, w.Body.String(), nil})
		if strings.Contains(fmt.Sprint(resp.Header), "\n") {
			t.Errorf("%q: %v", target, resp.Header)
		}
	})
}
