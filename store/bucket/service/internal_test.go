package service

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/retry"

	"github.com/google/go-cmp/cmp"
)

func TestS3Config(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP", "AWS_SKIP_SIGNATURE", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_REGION", "from-environment")
	tests := []struct {
		settings map[string]string
		want     S3Config
	}{
		{nil, S3Config{Region: "from-environment"}},
		{
			map[string]string{
				"aws_access_key_id": "id", "aws_secret_access_key": "secret", "aws_session_token": "token", "aws_region": "r",
				"aws_endpoint_url": "http://e", "aws_allow_http": "true", "aws_profile": "p", "user_agent": "u",
			},
			S3Config{KeyID: "id", Secret: "secret", Token: "token", Region: "r", Endpoint: "http://e", AllowHTTP: true, Profile: "p", UserAgent: "u"},
		},
		{
			map[string]string{"endpoint": "https://e", "aws_virtual_hosted_style_request": "true", "skip_signature": "1"},
			S3Config{Region: "from-environment", Endpoint: "https://e", VirtualHosts: true, Anonymous: true},
		},
	}
	for _, tt := range tests {
		tt.want.Bucket, tt.want.Path = "bucket", "a/path"
		got, err := s3Config("bucket", "a/path", tt.settings)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%v: %v, %s", tt.settings, err, diff)
		}
	}
}

// A plus in a query stands for itself, because secret keys have pluses.
func TestPlusInQuery(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("s3://b?aws_secret_access_key=a+b/c%2Bd%20e")
	if err != nil {
		t.Fatal(err)
	}
	got, err := mergeSettings(u, nil)
	if diff := cmp.Diff(map[string]string{"aws_secret_access_key": "a+b/c+d e"}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
}

// A range that was not asked for is an error.
func TestHTTPRanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		header string
		want   int64 // -1: an error
	}{
		{"bytes 10-19/100", 10}, {"bytes 10-10/11", 1}, {"bytes 10-19/*", 10},
		{"", -1}, {"bytes */100", -1}, {"bytes 0-9/100", -1}, {"bytes 10-20/100", -1}, {"bytes 10-9/100", -1}, {"bytes 10-99999999999999999999/1", -1},
	}
	for _, tt := range tests {
		got, err := rangeLength(tt.header, 10, 10)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q: %d, %v, want %d", tt.header, got, err, tt.want)
		}
	}
}

// Only errors that may go away are retried.
func TestRetrying(t *testing.T) {
	calls := 0
	r := retrying{policy: retry.Policy{Tries: 5, First: time.Microsecond}}
	gone := &bucket.Unavailable{Err: errors.New("gone")}
	err := r.do(t.Context(), func(context.Context) error { calls++; return fmt.Errorf("x: %w", gone) })
	if calls != 5 || !errors.Is(err, gone) {
		t.Errorf("%d calls, %v", calls, err)
	}
	calls = 0
	if err := r.do(t.Context(), func(context.Context) error { calls++; return store.ErrNotFound }); calls != 1 || !store.IsNotFound(err) {
		t.Errorf("%d calls, %v", calls, err)
	}
}
