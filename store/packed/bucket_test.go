package packed

import (
	"context"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/storetest"
)

// openBucket opens or makes the store in a bucket.
func openBucket(t *testing.T, b bucket.Bucket, o BucketOptions) *store.Store {
	t.Helper()
	st, err := OpenBucket(context.Background(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func create() BucketOptions { return BucketOptions{Options: Options{Create: true}} }

func TestBucket(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, bucket.NewMemory(), create()) })
}

func TestBucketFolder(t *testing.T) {
	storetest.RunReopen(t, func(t *testing.T, dir string) *store.Store {
		b, err := bucket.OpenFile(dir, "", true)
		if err != nil {
			t.Fatal(err)
		}
		o := create()
		o.Cache = t.TempDir()
		return openBucket(t, b, o)
	})
}
