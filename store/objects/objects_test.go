package objects

import (
	"crypto/rand"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/storetest"
)

func openBucket(t *testing.T, b bucket.Bucket, o Options) *store.Store {
	t.Helper()
	st, err := Open(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestMemory(t *testing.T) {
	storetest.NotUnderRace(t) // TestFile does the same
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, bucket.NewMemory(), Options{}) })
}

func openFolder(t *testing.T, dir string) bucket.Bucket {
	t.Helper()
	b, err := bucket.OpenFile(dir, ownPrefix, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFile(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openFolder(t, t.TempDir()), Options{}) })
}

func TestFileReopen(t *testing.T) {
	t.Parallel()
	storetest.RunReopen(t, func(t *testing.T, dir string) *store.Store {
		return openBucket(t, openFolder(t, dir), Options{ID: dir})
	})
}

// s3Options are the Options of OpenURL.
func s3Options() Options { return Options{Concurrency: 32, ListPage: service.ListPage} }

func TestS3(t *testing.T) {
	t.Parallel()
	servers := map[string]func(*testing.T) service.S3Config{
		"gofakes3":  func(t *testing.T) service.S3Config { return buckettest.FakeS3(t, nil) },
		"versitygw": buckettest.Versitygw,
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "versitygw" {
				storetest.NotUnderRace(t)
			}
			c := start(t)
			storetest.Run(t, func(t *testing.T) *store.Store {
				c := c
				c.Path = "a path/" + rand.Text()
				b, err := service.OpenS3(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				return openBucket(t, b, s3Options())
			})
		})
	}
}
