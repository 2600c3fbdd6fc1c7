package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"castar/store"
)

// NewMemory returns an empty Bucket in memory. Its objects live as long as something refers to it, even after Close.
func NewMemory() Bucket { return &memoryBucket{objects: map[string]memoryObject{}} }

type memoryBucket struct {
	DurablePuts
	NoUploads
	LocalClock
	mu      sync.RWMutex
	objects map[string]memoryObject
}

// memoryObject is the bytes of an object, which are never changed, and when they were put.
type memoryObject struct {
	data []byte
	at   time.Time
}

func (m *memoryBucket) String() string { return "memory:" }

func (m *memoryBucket) get(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, store.ErrNotFound)
	}
	return o.data, nil
}

func (m *memoryBucket) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	b, err := m.get(ctx, name)
	return bytes.Clone(part(b, offset, n)), err
}

// part returns at most n bytes of b, starting at offset.
func part(b []byte, offset, n int64) []byte {
	b = b[min(offset, int64(len(b))):]
	return b[:min(n, int64(len(b)))]
}

func (m *memoryBucket) Head(ctx context.Context, name string) (int64, error) {
	b, err := m.get(ctx, name)
	return int64(len(b)), err
}

func (m *memoryBucket) Load(ctx context.Context, name string) ([]byte, Version, error) {
	b, err := m.get(ctx, name)
	if err != nil {
		return nil, "", err
	}
	return Loaded(name, bytes.Clone(b), versionOf(b))
}

func (m *memoryBucket) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = memoryObject{bytes.Clone(data), time.Now()}
	return nil
}

func (m *memoryBucket) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	data, err := ReadWhole(r, size)
	if err != nil {
		return err
	}
	return m.Put(ctx, name, data)
}

func (m *memoryBucket) PutIf(ctx context.Context, name string, data []byte, old Version) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := Absent
	if o, ok := m.objects[name]; ok {
		now = versionOf(o.data)
	}
	if now != old {
		return "", fmt.Errorf("%s: %w", name, ErrChanged)
	}
	m.objects[name] = memoryObject{bytes.Clone(data), time.Now()}
	return versionOf(data), nil
}

func (m *memoryBucket) Delete(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return ctx.Err()
}

// List yields the objects that existed when the loop began. The loop may add and remove objects.
func (m *memoryBucket) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var found []Object
		m.mu.RLock()
		for name, o := range m.objects {
			if strings.HasPrefix(name, prefix) && name > after {
				found = append(found, Object{name, int64(len(o.data)), o.at})
			}
		}
		m.mu.RUnlock()
		slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
		for _, o := range found {
			if err := ctx.Err(); !yield(o, err) || err != nil {
				return
			}
		}
	}
}

func (m *memoryBucket) Close() error { return nil }
