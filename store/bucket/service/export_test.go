//go:build cloud

package service

import (
	"castar/store/bucket"

	"gocloud.dev/blob/memblob"
)

// OpenMemblob returns a bucket in memory behind gocloud.dev. Its objects have no versions.
func OpenMemblob() bucket.Bucket {
	return newCloudBucket(memblob.OpenBucket(nil), "mem://", "a path/x")
}
