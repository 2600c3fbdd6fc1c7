package objects

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"castar/store"
	"castar/store/bucket"
)

// lateBucket calls before once, ahead of the first Get of a list of chunks.
type lateBucket struct {
	bucket.Bucket
	before func()
}

func (l *lateBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if before := l.before; before != nil && strings.HasPrefix(name, blobsPrefix) {
		l.before = nil
		before()
	}
	return l.Bucket.Get(ctx, name, offset, n)
}

// TestOpenDuringPut stores a blob after a reader has looked for its chunk and before it looks for its list.
func TestOpenDuringPut(t *testing.T) {
	t.Parallel()
	shared := bucket.NewMemory()
	late := &lateBucket{Bucket: shared}
	reader, writer := openBucket(t, late, Options{}), openBucket(t, shared, Options{})
	data := []byte("stored by another")
	late.before = func() {
		if _, err := writer.Blobs.Put(t.Context(), data); err != nil {
			t.Error(err)
		}
		if err := writer.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	}
	b, err := reader.Blobs.Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if late.before != nil {
		t.Error("no list of chunks was read")
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %q, %v", got, err)
	}
}
