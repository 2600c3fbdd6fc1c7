package service_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/retry"
)

// openDAV opens a folder of a server, and tries every request once.
func openDAV(t *testing.T, u *url.URL) bucket.Bucket {
	t.Helper()
	b, err := service.OpenHTTP(t.Context(), service.HTTPConfig{URL: u, Retry: retry.Policy{Tries: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func second[T any](_ T, err error) error { return err }

func listError(objects iter.Seq2[bucket.Object, error]) error {
	for _, err := range objects {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	buckettest.CheckPlain(t, openDAV(t, buckettest.StartHTTP(t, buckettest.WebDAV()).JoinPath("a path", "x")))
}

// Neither objects nor credentials go to other hosts.
func TestHTTPRedirect(t *testing.T) {
	t.Parallel()
	other := buckettest.StartHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("the other host was asked") }))
	server := buckettest.StartHTTP(t, http.RedirectHandler(other.String(), http.StatusTemporaryRedirect))
	b := openDAV(t, server.JoinPath("x"))
	defer b.Close()
	ctx := t.Context()
	for what, err := range map[string]error{
		"Get": second(b.Get(ctx, "x", 0, 1)), "Head": second(b.Head(ctx, "x")), "Put": b.Put(ctx, "x", nil),
		"Delete": b.Delete(ctx, "x"), "List": listError(b.List(ctx, "", "")),
	} {
		if err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect: redirect not followed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Listings of a folder are read in the forms that servers use. Others are errors.
func TestHTTPList(t *testing.T) {
	t.Parallel()
	const head, foot = `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">`, `</D:multistatus>`
	object := func(href string) string {
		return "<D:response><D:href>" + href + "</D:href><D:propstat><D:prop><D:resourcetype/></D:prop></D:propstat></D:response>"
	}
	folder := func(href string) string {
		return strings.Replace(object(href), "<D:resourcetype/>", "<D:resourcetype><D:collection/></D:resourcetype>", 1)
	}
	tests := []struct {
		answer  string
		want    []string
		wantErr string // part of the error; "" for none
	}{
		{head + foot, nil, ""},
		{head + folder("/b/") + object("/b/y") + object("/b/x") + foot, []string{"x", "y"}, ""},
		{head + folder("http://h/b") + object("http://h/b/%78%2e") + foot, []string{"x."}, ""},
		{strings.NewReplacer("D:", "", ":D=", "=").Replace(head + object("/b/x") + foot), []string{"x"}, ""},
		{head + folder("/b/") + folder("/b/c") + foot, nil, "not in the folder"}, // which it says of /b/c/ too
		{head + object("/elsewhere/x") + foot, nil, "not in the folder"},
		{head + object("/b/c/x") + foot, nil, "not in the folder"},
		{head + object("/b/..") + foot, nil, "not in the folder"},
		{head + object("/b/c%2f..%2fx") + foot, nil, "not in the folder"},
		{head + object("%zz") + foot, nil, "not a URL"},
		{head + object("/b/x"), nil, "EOF"},
		{head + object("/b/x") + "<D:response>", nil, "EOF"},
		{head, nil, "EOF"},
		{"", nil, "EOF"},
		{"<html></html>", nil, "multistatus"},
		{"text & no XML", nil, "XML"},
	}
	for _, tt := range tests {
		server := buckettest.StartHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead && r.Header.Get("Depth") != "1" {
				t.Errorf("Depth %q", r.Header.Get("Depth"))
			}
			w.WriteHeader(http.StatusMultiStatus)
			io.WriteString(w, tt.answer)
		}))
		b := openDAV(t, server.JoinPath("b"))
		var names []string
		var err error
		for o, e := range b.List(t.Context(), "", "") {
			if err = e; err == nil {
				names = append(names, o.Name)
			}
		}
		if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) || !slices.Equal(names, tt.want) {
			t.Errorf("%s: %q, %v, want %q, %q", tt.answer, names, err, tt.want, tt.wantErr)
		}
		b.Close()
	}
}

// A caller may cancel while it waits for a server.
func TestHTTPCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/"}
	if _, err := service.OpenHTTP(ctx, service.HTTPConfig{URL: u}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
