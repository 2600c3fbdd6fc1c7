package objects

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"castar/store"
)

// NewMemory returns an empty Bucket in memory. Its objects live as long as something refers to it, even after Close.
func NewMemory() Bucket { return &memoryBucket{objects: map[string][]byte{}} }

type memoryBucket struct {
	durablePuts
	mu      sync.RWMutex
	objects map[string][]byte // never changed, only replaced
}

func (m *memoryBucket) String() string { return "objectstore+memory:" }

func (m *memoryBucket) get(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, store.ErrNotFound)
	}
	return b, nil
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

func (m *memoryBucket) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = bytes.Clone(data)
	return nil
}

func (m *memoryBucket) Delete(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return ctx.Err()
}

// List yields the names that existed when the loop began. The loop may add and remove objects.
func (m *memoryBucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m.mu.RLock()
		names := slices.Sorted(maps.Keys(m.objects))
		m.mu.RUnlock()
		for _, name := range names {
			if !strings.HasPrefix(name, prefix) || name <= after {
				continue
			}
			if err := ctx.Err(); !yield(name, err) || err != nil {
				return
			}
		}
	}
}

func (m *memoryBucket) Close() error { return nil }
