//go:build cloud

package bucket_test

import (
	"testing"

	"castar/store/bucket"
	"castar/store/bucket/buckettest"
)

func TestCloud(t *testing.T) {
	t.Parallel()
	buckettest.CheckPlain(t, bucket.OpenMemblob())
}
