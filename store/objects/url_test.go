package objects

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"
	"castar/store/bucket/buckettest"
)

func TestOpenURL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "plain")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		url     string
		create  bool
		wantErr string // part of the error; "" for none
	}{
		{"objectstore+memory:", false, ""},
		{"objectstore+memory:///", false, ""},
		{"objectstore+memory://", false, ""},
		{"memory:///", false, ""},
		{"objectstore+memory:/path", false, "takes no path"},
		{"objectstore+file://" + dir, false, ""},
		{"objectstore+file:" + dir, false, ""},
		{"file://" + dir + "/", false, ""},
		{"objectstore+file:" + dir + "/a%20b/c", true, ""},
		{"objectstore+file:relative", false, "needs a path"},
		{"objectstore+file:///", false, "needs a path"},
		{"objectstore+file:" + dir + "?x=y", false, "unknown setting x"},
		{"objectstore+file:" + file, false, "not a directory"},
		{"objectstore+file:" + file + "/below", true, "not a directory"},
		{"objectstore+s3://bucket/path?aws_colour=red", false, "unknown setting aws_colour"},
		{"objectstore+s3://bucket/path?aws_region=a&region=b&aws_allow_http=maybe", false, "want true or false"},
		{"objectstore+s3://bucket/path?aws_access_key_id=SECRET", false, "want both or neither"},
		{"objectstore+s3://bucket?aws_endpoint_url=http://127.0.0.1:1", false, "aws_allow_http"},
		{"objectstore+s3://bucket?aws_endpoint_url=127.0.0.1:1", false, "endpoint"},
		{"objectstore+s3://bucket?aws_region=a&aws_region=b", false, "given twice"},
		{"objectstore+http://user:SECRET@127.0.0.1:1/path?aws_region=x", false, "unknown setting aws_region"},
		{"objectstore+http://user:SECRET@127.0.0.1:1/path?allow_http=maybe", false, "want true or false"},
		{"objectstore+http://user:SECRET@127.0.0.1:1/path?allow_http=false&user_agent=x", false, "forbids a URL without TLS"},
		{"objectstore+http://user:SEC/RET@host/path", false, "invalid"},
		{"objectstore+http://user:SECRET@127.0.0.1:1/path", false, "http://127.0.0.1:1/path"},
		{"objectstore+ftp://host/path", false, "unknown kind"},
		{"%", false, "invalid"},
	}
	for _, tt := range tests {
		st, err := OpenURL(t.Context(), tt.url, URLOptions{Create: tt.create})
		if err == nil {
			if err := st.Close(); err != nil {
				t.Errorf("%s: Close: %v", tt.url, err)
			}
		}
		if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.wantErr)
		}
		if err != nil && (strings.Contains(err.Error(), "SEC") || strings.Contains(err.Error(), "RET")) {
			t.Errorf("%s: the error shows secrets: %v", tt.url, err)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "a b", "c")); err != nil || !fi.IsDir() {
		t.Errorf("the folder was not made: %v", err)
	}
}

func TestOpenURLOfNoFolder(t *testing.T) {
	t.Parallel()
	url := "objectstore+file:" + t.TempDir() + "/absent"
	for _, create := range []bool{false, true} {
		o := URLOptions{Create: create, ReadOnly: create}
		if _, err := OpenURL(t.Context(), url, o); !errors.Is(err, store.ErrNoStore) {
			t.Errorf("absent folder: %v, want ErrNoStore", err)
		}
	}
}

// A store has the same ID however its URL is written.
func TestURLID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := map[string]string{}
	for _, u := range []string{"objectstore+file:" + dir, "file://" + dir + "/", "objectstore+file:" + dir + "/x/.."} {
		st, err := OpenURL(t.Context(), u, URLOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids[st.ID] = u
		st.Close()
	}
	if len(ids) != 1 {
		t.Errorf("IDs %v", ids)
	}
}

// A store in S3 opened by its URL has what another handle stored, tags included. A store at another path has not.
func TestS3URL(t *testing.T) {
	t.Parallel()
	c := buckettest.FakeS3(t, nil)
	u := "objectstore+s3://" + buckettest.Name + "/some/path?aws_allow_http=true&aws_access_key_id=a&aws_secret_access_key=b&aws_endpoint_url=" + c.Endpoint
	open := func(u string, o URLOptions) *store.Store {
		t.Helper()
		st, err := OpenURL(t.Context(), u, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	st := open(u, URLOptions{})
	if err := fill(t, st, [][]byte{[]byte("x")}); err != nil {
		t.Fatal(err)
	}
	tag := store.Tag{Name: "a/tag", Root: store.Node{Kind: store.KindFile, Digest: store.Sum([]byte("x")), Size: 1}}
	if err := errors.Join(st.Tags.Set(t.Context(), tag), st.Tags.Record(t.Context(), tag)); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{"aws_allow_http": "true", "aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_endpoint_url": c.Endpoint}
	ro := open("objectstore+s3://"+buckettest.Name+"/some/path/", URLOptions{ReadOnly: true, Settings: settings})
	if ro.ID != st.ID {
		t.Errorf("IDs %s and %s", ro.ID, st.ID)
	}
	if got, err := readAll(t, ro, store.Sum([]byte("x"))); err != nil || string(got) != "x" {
		t.Errorf("read %q, %v", got, err)
	}
	if got, err := ro.Tags.Get(t.Context(), "a/tag"); err != nil || got != tag {
		t.Errorf("tag %v, %v", got, err)
	}
	checkReadOnly(t, ro)
	other := open("objectstore+s3://"+buckettest.Name+"/some/path2", URLOptions{Settings: settings})
	if has, err := other.Blobs.Has(t.Context(), store.Sum([]byte("x"))); has || err != nil || other.ID == st.ID {
		t.Errorf("another path has it: %v, %v", has, err)
	}
}

func checkReadOnly(t *testing.T, st *store.Store) {
	t.Helper()
	ctx := t.Context()
	tag := store.Tag{Name: "t", Root: store.Node{Kind: store.KindFile}}
	for what, err := range map[string]error{
		"Put":       second(st.Blobs.Put(ctx, []byte("x"))),
		"Create":    second(st.Blobs.Create(ctx)),
		"directory": second(st.Directories.Put(ctx, store.Directory{})),
		"Upload":    second(st.Directories.Upload(ctx)),
		"Set":       st.Tags.Set(ctx, tag),
		"Delete":    st.Tags.Delete(ctx, "a/tag"),
		"Record":    st.Tags.Record(ctx, tag),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", what, err)
		}
	}
	if err := st.Sync(ctx); err != nil {
		t.Errorf("Sync: %v", err)
	}
}

// Nothing is written to a folder that is opened read-only.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := OpenURL(t.Context(), "file:"+dir, URLOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	checkReadOnly(t, st)
	if _, err := st.Directories.Get(t.Context(), store.Sum(nil)); !store.IsNotFound(err) {
		t.Errorf("Get: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}
