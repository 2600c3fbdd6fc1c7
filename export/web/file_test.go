package web

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"castar/export"
	"castar/store"
)

// fakeArchive writes what it was asked for.
func fakeArchive(_ context.Context, root store.Node, w io.Writer, o export.ArchiveOptions) error {
	_, err := fmt.Fprintf(w, "%s %s %q", o.Format, root.Kind, o.Name)
	return err
}

// TestFileKinds tells what is shown, and as what. Nothing that runs is.
func TestFileKinds(t *testing.T) {
	s := newSite(t, Options{})
	const text, bytes = "text/plain; charset=utf-8", "application/octet-stream"
	for name, tt := range map[string]struct{ contents, kind string }{
		"page.html": {"<!DOCTYPE html><script>alert(1)</script>", text}, "no-name": {"<html><body onload=alert(1)>", text},
		"image.svg": {`<svg xmlns="http://www.w3.org/2000/svg"/>`, text}, "x.xml": {`<?xml version="1.0"?><a/>`, text},
		"script.js": {"alert(1)", text}, "x.css": {"*{}", text}, "empty.html": {"", text}, "x.txt": {"plain\n\ttext", text}, "utf8": {"ünï", text},
		"cut": {strings.Repeat("a", sampleSize-1) + "ü", text}, "log": {"\x1b[31mred\x1b[0m", text},
		"x.png": {png, "image/png"}, "lie.html": {png, "image/png"}, "x.gif": {"GIF89a\x01\x00\x01\x00", "image/gif"},
		"x.jpg": {"\xff\xd8\xff\xe0", "image/jpeg"}, "x.webp": {"RIFF\x04\x00\x00\x00WEBPVP8 ", "image/webp"},
		"latin": {"caf\xe9", bytes}, "nul": {"a\x00b", bytes}, "x.pdf": {"%PDF-1.7\n\xe2\xe3", bytes}, "text.pdf": {"%PDF-1.7\n", text},
		"utf16": {"\xff\xfe<\x00s\x00", bytes}, "x.zip": {"PK\x03\x04", bytes}, "x.wasm": {"\x00asm\x01\x00\x00\x00", bytes}, "x.mp4": {"\x00\x00\x00\x18ftypmp42", bytes},
		"x.html": {png[:7] + "<script>alert(1)</script>", bytes},
	} {
		root := put(t, s.st, folder{name: tt.contents})
		for _, query := range []string{"", "?download"} {
			r := s.get(treeURL(root.Digest, name) + query)
			if r.StatusCode != http.StatusOK || r.body != tt.contents || r.header("Content-Type") != tt.kind {
				t.Errorf("%s: %s, %s, %d bytes", name, r.Status, r.header("Content-Type"), len(r.body))
			}
			kind, params, err := mime.ParseMediaType(r.header("Content-Disposition"))
			want := "inline"
			if tt.kind == bytes || query != "" {
				want = "attachment"
			}
			if err != nil || kind != want || params["filename"] != name {
				t.Errorf("%s%s: %s, %v", name, query, r.header("Content-Disposition"), err)
			}
			checkSafe(t, "/roots/"+name, r)
		}
	}
}

// TestDisposition names downloads as they are called, and never breaks the header.
func TestDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt":      `attachment; filename="a.txt"; filename*=UTF-8''a.txt`,
		`a"b.txt`:    `attachment; filename="a_b.txt"; filename*=UTF-8''a%22b.txt`,
		"a;b=c":      `attachment; filename="a_b_c"; filename*=UTF-8''a%3Bb%3Dc`,
		"a b":        `attachment; filename="a b"; filename*=UTF-8''a%20b`,
		"a\r\nX: y":  `attachment; filename="a__X_ y"; filename*=UTF-8''a__X%3A%20y`,
		"ü.txt":      `attachment; filename="_.txt"; filename*=UTF-8''%C3%BC.txt`,
		"a\xff":      `attachment; filename="a_"; filename*=UTF-8''a_`,
		"x\u202egnp": `attachment; filename="x_gnp"; filename*=UTF-8''x_gnp`,
		`..\x`:       `attachment; filename=".._x"; filename*=UTF-8''.._x`,
		"100%":       `attachment; filename="100_"; filename*=UTF-8''100%25`,
	} {
		got := disposition(false, name)
		if got != want {
			t.Errorf("%q: %s", name, got)
		}
		if _, _, err := mime.ParseMediaType(got); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestRanges asks for parts of a file.
func TestRanges(t *testing.T) {
	s := newSite(t, Options{})
	body := strings.Repeat("0123456789", 10)
	n := put(t, s.st, body)
	path, etag := treeURL(n.Digest), `"`+n.Digest.String()+`"`
	for _, tt := range []struct {
		header string // of the range
		status int
		want   string
	}{
		{"", 200, body}, {"bytes=0-0", 206, "0"}, {"bytes=3-6", 206, "3456"}, {"bytes=95-", 206, "56789"}, {"bytes=-3", 206, "789"},
		{"bytes=0-", 206, body}, {"bytes=0-99999", 206, body}, {"bytes=-99999", 206, body}, {"bytes=99-99", 206, "9"},
		{"bytes=100-", 416, ""}, {"bytes=200-300", 416, ""}, {"bytes=5-3", 416, ""}, {"bytes=x", 416, ""}, {"lines=1-2", 416, ""},
		{"bytes=0-0," + strings.Repeat("1-1,", 50) + "2-2", 200, body},
	} {
		var headers []string
		if tt.header != "" {
			headers = []string{"Range", tt.header}
		}
		r := s.get(path, headers...)
		if r.StatusCode != tt.status || r.err != nil || tt.status != 416 && r.body != tt.want {
			t.Errorf("%s: %s, %q, %v", tt.header, r.Status, r.body, r.err)
		}
		if tt.status < 300 && (r.header("Accept-Ranges") != "bytes" || r.header("Etag") != etag || r.ContentLength != int64(len(tt.want))) {
			t.Errorf("%s: %v", tt.header, r.Header)
		}
		if head := s.do("HEAD", path, headers...); head.StatusCode != tt.status || head.body != "" || tt.status < 300 && head.ContentLength != int64(len(tt.want)) {
			t.Errorf("HEAD %s: %s, length %d", tt.header, head.Status, head.ContentLength)
		}
	}
	if r := s.get(path, "Range", "bytes=0-1,5-6"); r.StatusCode != 206 {
		t.Errorf("two ranges: %s", r.Status)
	} else {
		_, params, _ := mime.ParseMediaType(r.header("Content-Type"))
		parts := multipart.NewReader(strings.NewReader(r.body), params["boundary"])
		for _, want := range []string{"01", "56"} {
			p, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(p); string(got) != want || err != nil || p.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("a part: %q, %v, %v", got, err, p.Header)
			}
		}
	}
	for _, tt := range []struct {
		name, value string
		status      int
	}{
		{"If-None-Match", etag, 304}, {"If-None-Match", `"x", ` + etag, 304}, {"If-None-Match", "*", 304}, {"If-None-Match", `W/` + etag, 304},
		{"If-None-Match", `"x"`, 206}, {"If-Match", etag, 206}, {"If-Match", `"x"`, 412}, {"If-Range", etag, 206}, {"If-Range", `"x"`, 200},
	} {
		if r := s.get(path, "Range", "bytes=0-1", tt.name, tt.value); r.StatusCode != tt.status {
			t.Errorf("%s: %s: %s", tt.name, tt.value, r.Status)
		}
	}
}

// hurt is the blobs of a store. From an offset on, reads fail.
type hurt struct {
	store.Blobs
	after atomic.Int64
}

func (h *hurt) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	b, err := h.Blobs.Open(ctx, d)
	return &hurtBlob{Blob: b, after: h.after.Load()}, err
}

// hurtFrom makes reads fail from an offset on. It must be called before the first request.
func (s *site) hurtFrom(offset int64) *hurt {
	h := &hurt{Blobs: s.st.Blobs}
	h.after.Store(offset)
	s.st.Blobs = h
	return h
}

type hurtBlob struct {
	store.Blob
	after, at int64
}

var errHurt = &store.CorruptError{Where: "/secret/path", Err: errors.New("damaged here")}

func (b *hurtBlob) Read(p []byte) (int, error) {
	if b.at >= b.after {
		return 0, errHurt
	}
	n, err := b.Blob.Read(p[:min(int64(len(p)), b.after-b.at)])
	b.at += int64(n)
	return n, err
}

func (b *hurtBlob) Seek(offset int64, whence int) (n int64, err error) {
	b.at, err = b.Blob.Seek(offset, whence)
	return b.at, err
}

func (b *hurtBlob) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{b}) }

// TestDamage reads damaged files. Nobody may take what is sent for the whole, and nobody is told where the store is.
func TestDamage(t *testing.T) {
	s := newSite(t, Options{})
	n := put(t, s.st, strings.Repeat("0123456789", 50_000))
	damage := s.hurtFrom(100_000)
	path := treeURL(n.Digest)
	for _, headers := range [][]string{
		nil, {"Range", "bytes=0-"}, {"Range", "bytes=99000-200000"}, {"Range", "bytes=99999-100000"}, {"Range", "bytes=0-5,99000-200000"},
		{"If-None-Match", `"x"`}, {"Accept-Encoding", "gzip"},
	} {
		if r := s.get(path, headers...); r.err == nil {
			t.Errorf("%v: %s with %d of %d bytes, and no error", headers, r.Status, len(r.body), r.ContentLength)
		}
	}
	if r := s.get(path, "Range", "bytes=10-19"); r.err != nil || r.body != "0123456789" {
		t.Errorf("what is not damaged: %q, %v", r.body, r.err)
	}
	damage.after.Store(0)
	if r := s.get(path); r.StatusCode != 500 || strings.Contains(r.body, "secret") || r.header("Content-Disposition") != "" || r.header("Cache-Control") != "no-store" {
		t.Errorf("damage at the beginning: %s, %v, %s", r.Status, r.Header, r.body)
	}
	checkSafe(t, path, s.get(path))
	if log := s.log.String(); !strings.Contains(log, "damaged here") || !strings.Contains(log, "level=WARN") {
		t.Errorf("log: %s", log)
	}
	missing := putDirectory(t, s.st, store.Directory{{Name: "d", Kind: store.KindDirectory, Digest: store.Sum([]byte("none"))}, {Name: "f", Kind: store.KindFile, Digest: store.Sum([]byte("no"))}})
	for _, at := range []string{"/d", "/f", "/d/e", "?map"} {
		if r := s.get(treeURL(missing.Digest) + at); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", at, r.Status)
		}
	}
}

// TestArchive offers archives, and breaks off after an error.
func TestArchive(t *testing.T) {
	s := newSite(t, Options{})
	s.h.archiver = fakeArchive
	root := put(t, s.st, folder{"d": folder{"f": "x"}, `a"b`: "x", "l": pointer("x")})
	in := treeURL(root.Digest)
	for _, tt := range []struct{ path, kind, name, body string }{
		{"?archive=tar", "application/x-tar", root.Digest.String()[:16] + ".tar", `tar directory ""`},
		{"/d?archive=zip", "application/zip", "d.zip", `zip directory ""`},
		{"/d?archive=nar", "application/x-nix-nar", "d.nar", `nar directory ""`},
		{"/a%22b?archive=tar", "application/x-tar", `a"b.tar`, `tar file "a\"b"`},
		{"/l?archive=tar", "application/x-tar", "l.tar", `tar symlink "l"`},
	} {
		r := s.get(in + tt.path)
		disposition, params, err := mime.ParseMediaType(r.header("Content-Disposition"))
		if r.StatusCode != 200 || r.header("Content-Type") != tt.kind || disposition != "attachment" || params["filename"] != tt.name || r.body != tt.body || err != nil {
			t.Errorf("%s: %s, %v, %s", tt.path, r.Status, r.Header, r.body)
		}
		if head := s.do("HEAD", in+tt.path); head.StatusCode != 200 || head.body != "" || head.header("Content-Type") != tt.kind {
			t.Errorf("HEAD %s: %s", tt.path, head.Status)
		}
	}
	r := s.get(in + "?archive=tar")
	if again := s.get(in+"?archive=tar", "If-None-Match", r.header("Etag")); again.StatusCode != 304 || again.body != "" {
		t.Errorf("again: %s", again.Status)
	}
	if zip := s.get(in + "?archive=zip"); zip.header("Etag") == r.header("Etag") {
		t.Error("two archives have one ETag")
	}
}

// TestArchiveBroken breaks off an archive after an error. If nothing was sent, there is a page that says so.
func TestArchiveBroken(t *testing.T) {
	s := newSite(t, Options{})
	var written atomic.Int64
	s.h.archiver = func(_ context.Context, _ store.Node, w io.Writer, _ export.ArchiveOptions) error {
		for range written.Load() {
			if _, err := w.Write([]byte("x")); err != nil {
				return err
			}
		}
		return errHurt
	}
	path := treeURL(put(t, s.st, folder{}).Digest) + "?archive=tar"
	for n, broken := range map[int64]bool{0: false, 10: true, 20_000: true} {
		written.Store(n)
		if r := s.get(path); (r.err != nil) != broken || !broken && r.StatusCode != 500 {
			t.Errorf("an error after %d bytes: %s, %v", n, r.Status, r.err)
		}
	}
}

// TestArchives reads what programs read: a whole archive of a tree, and none of one that is damaged.
func TestArchives(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, folder{"d": folder{"f": "contents"}, "long": strings.Repeat("0123456789", 300_000)})
	damage := s.hurtFrom(math.MaxInt64)
	in := treeURL(root.Digest)
	names := map[string]string{}
	r := s.get(in + "?archive=tar")
	for files := tar.NewReader(strings.NewReader(r.body)); ; {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = string(b)
	}
	if names["d/f"] != "contents" || len(names["long"]) != 3_000_000 {
		t.Errorf("tar: %d names", len(names))
	}
	r = s.get(in + "/d?archive=zip")
	if z, err := zip.NewReader(strings.NewReader(r.body), int64(len(r.body))); err != nil || len(z.File) != 1 || z.File[0].Name != "f" {
		t.Errorf("zip: %v", err)
	}
	if r := s.get(in + "/d/f?archive=nar"); !strings.HasPrefix(r.body, "\x0d\x00\x00\x00\x00\x00\x00\x00nix-archive-1") {
		t.Errorf("nar: %.40q", r.body)
	}
	damage.after.Store(2_000_000)
	for _, format := range archives() {
		if r := s.get(in + "?archive=" + string(format)); r.err == nil {
			t.Errorf("%s of a damaged tree: %s with %d bytes, and no error", format, r.Status, len(r.body))
		}
	}
}

// TestDownloads limits how many long files are sent at once. Short ones need not wait for them.
func TestDownloads(t *testing.T) {
	s := newSite(t, Options{Downloads: 2})
	s.h.downloads.patience = time.Millisecond
	long, short := put(t, s.st, strings.Repeat("x", longFile+1)), put(t, s.st, "short")
	for range 2 {
		if err := s.h.downloads.take(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{treeURL(long.Digest): 503, treeURL(short.Digest): 200, treeURL(short.Digest) + "?archive=tar": 503, "/": 200} {
		if r := s.get(path); r.StatusCode != want || want == 503 && r.header("Retry-After") == "" {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	s.h.downloads.give("")
	if r := s.get(treeURL(long.Digest)); r.StatusCode != 200 || len(r.body) != longFile+1 {
		t.Errorf("after one is done: %s", r.Status)
	}
	if n := len(s.h.downloads.held) + len(s.h.requests.held) + len(s.h.reads.held); n != 1 {
		t.Errorf("%d slots were not given back", n-1)
	}
}

// TestIdle cuts off a client that takes nothing, which frees its slot.
func TestIdle(t *testing.T) {
	s := newSite(t, Options{Downloads: 1, Idle: 50 * time.Millisecond})
	long := put(t, s.st, strings.Repeat("x", 32<<20)) // more than sockets hold
	c, err := net.Dial("tcp", s.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", treeURL(long.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	other := put(t, s.st, strings.Repeat("y", longFile+1))
	if r := s.get(treeURL(other.Digest)); r.StatusCode != 200 || r.err != nil {
		t.Errorf("the next client: %s, %v", r.Status, r.err)
	}
	if got, _ := io.ReadAll(c); len(got) >= 32<<20 {
		t.Errorf("the silent client got %d bytes", len(got))
	}
}
