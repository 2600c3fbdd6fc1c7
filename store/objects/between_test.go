package objects

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"strings"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// hookFS calls before once, ahead of the first Open or Stat of a temporary file.
type hookFS struct {
	durable.FS
	before func()
}

func (h *hookFS) hook(name string) {
	if before := h.before; before != nil && strings.HasPrefix(name, tmpDir) {
		h.before = nil
		before()
	}
}

func (h *hookFS) Open(name string) (durable.File, error) {
	h.hook(name)
	return h.FS.Open(name)
}

func (h *hookFS) Stat(name string) (fs.FileInfo, error) {
	h.hook(name)
	return h.FS.Stat(name)
}

// TestFileReadDuringPut puts or renames an object's file between the two steps of a reader.
func TestFileReadDuringPut(t *testing.T) {
	t.Parallel()
	const name = "chunks/b3/ab/abcd"
	data := []byte("the same bytes")
	for what, between := range map[string]func(context.Context, Bucket) error{
		"put again": func(ctx context.Context, b Bucket) error { return b.Put(ctx, name, data) },
		"named":     func(ctx context.Context, b Bucket) error { return b.Sync(ctx) },
		"put again, then named": func(ctx context.Context, b Bucket) error {
			if err := b.Put(ctx, name, data); err != nil {
				return err
			}
			return b.Sync(ctx)
		},
		"named, then put again": func(ctx context.Context, b Bucket) error {
			if err := b.Sync(ctx); err != nil {
				return err
			}
			return b.Put(ctx, name, data)
		},
	} {
		for _, look := range []string{"Get", "Head"} {
			t.Run(what+"/"+look, func(t *testing.T) {
				fsys := &hookFS{FS: crashfs.New()}
				b := newFileBucket(fsys, nil, noClose)
				if err := b.Put(t.Context(), name, data); err != nil {
					t.Fatal(err)
				}
				called := false
				fsys.before = func() {
					called = true
					if err := between(t.Context(), b); err != nil {
						t.Error(err)
					}
				}
				if look == "Get" {
					if got, err := b.Get(t.Context(), name, 0, 100); err != nil || !bytes.Equal(got, data) {
						t.Errorf("Get = %q, %v", got, err)
					}
				} else if n, err := b.Head(t.Context(), name); err != nil || n != int64(len(data)) {
					t.Errorf("Head = %d, %v", n, err)
				}
				if !called {
					t.Error("nothing happened in between")
				}
			})
		}
	}
}

// lateBucket calls before once, ahead of the first Get of a record.
type lateBucket struct {
	Bucket
	before func()
}

func (l *lateBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if before := l.before; before != nil && strings.HasPrefix(name, blobsPrefix) {
		l.before = nil
		before()
	}
	return l.Bucket.Get(ctx, name, offset, n)
}

// TestOpenDuringPut stores a blob after a reader has looked for its chunk and before it looks for its record.
func TestOpenDuringPut(t *testing.T) {
	t.Parallel()
	shared := NewMemory()
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
		t.Error("no record was read")
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %q, %v", got, err)
	}
}
