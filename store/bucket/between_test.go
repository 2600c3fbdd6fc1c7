package bucket_test

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"

	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// hookFS calls before once, ahead of the first Open or Stat of a temporary file.
type hookFS struct {
	durable.FS
	before func()
}

func (h *hookFS) hook(name string) {
	if before := h.before; before != nil && strings.HasPrefix(name, "own/tmp") {
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
	for what, between := range map[string]func(context.Context, bucket.Bucket) error{
		"put again": func(ctx context.Context, b bucket.Bucket) error { return b.Put(ctx, name, data) },
		"named":     func(ctx context.Context, b bucket.Bucket) error { return b.Sync(ctx) },
		"put again, then named": func(ctx context.Context, b bucket.Bucket) error {
			if err := b.Put(ctx, name, data); err != nil {
				return err
			}
			return b.Sync(ctx)
		},
		"named, then put again": func(ctx context.Context, b bucket.Bucket) error {
			if err := b.Sync(ctx); err != nil {
				return err
			}
			return b.Put(ctx, name, data)
		},
	} {
		for _, look := range []string{"Get", "Head"} {
			t.Run(what+"/"+look, func(t *testing.T) {
				fsys := &hookFS{FS: crashfs.New()}
				b := bucket.NewFile(fsys, "own/", nil, func() error { return nil })
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
