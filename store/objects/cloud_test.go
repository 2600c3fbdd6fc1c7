//go:build cloud

package objects

import (
	"crypto/rand"
	"testing"

	"castar/store"
	"castar/store/storetest"

	"gocloud.dev/blob/memblob"
)

func openMemblob() Bucket {
	return newCloudBucket(memblob.OpenBucket(nil), "mem://", "a path/"+rand.Text())
}

func TestCloud(t *testing.T) {
	t.Parallel()
	t.Run("bucket", func(t *testing.T) { checkBucket(t, openMemblob()) })
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openMemblob(), s3Options()) })
}
