package tier_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tier"
)

// putAll stores groups and joined blobs as plain ones.
type putAll struct{ store.Blobs }

func (p *putAll) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrNotFound
}

func (p *putAll) PutGroup(ctx context.Context, raw []byte, sizes []int, _ []byte) (digests []store.Digest, err error) {
	for _, n := range sizes {
		d, err := p.Put(ctx, raw[:n])
		if err != nil {
			return nil, err
		}
		digests, raw = append(digests, d), raw[n:]
	}
	return digests, nil
}

func (p *putAll) ChunkSize() int { return 256 << 10 }

func (p *putAll) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	var data []byte
	for _, c := range chunks {
		blob, err := p.Open(ctx, c.Digest)
		if err != nil {
			return err
		}
		part, err := io.ReadAll(blob)
		if err != nil {
			return err
		}
		data = append(data, part...)
	}
	_, err := p.Put(ctx, data)
	return err
}

// readThrough is a store whose writes go to far alone, so that readers find near only what was fetched.
func readThrough() *store.Store {
	near, far := memory.New(), memory.New()
	cut := &cutting{Blobs: far.Blobs}
	st := tier.New(near, far, tier.Options{})
	st.Blobs = putTo{&tier.Blobs{Near: near.Blobs, Far: cut}, cut}
	st.Directories = putDirsTo{&tier.Directories{Near: near.Directories, Far: far.Directories}, far.Directories}
	return st
}

type putTo struct {
	store.Blobs
	to store.Blobs
}

func (p putTo) Put(ctx context.Context, b []byte) (store.Digest, error) { return p.to.Put(ctx, b) }
func (p putTo) Create(ctx context.Context) (store.BlobWriter, error)    { return p.to.Create(ctx) }

type putDirsTo struct {
	store.Directories
	to store.Directories
}

func (p putDirsTo) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	return p.to.Put(ctx, dir)
}
func (p putDirsTo) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	return p.to.Upload(ctx)
}

// cutting says that blobs are made of chunks of one length, and has each chunk as a blob.
type cutting struct {
	store.Blobs
	lie func([]store.Chunk) []store.Chunk
}

const cutLength = 100_000

func (c *cutting) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	blob, err := c.Blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(blob)
	if err != nil || len(data) <= cutLength {
		return nil, err
	}
	var chunks []store.Chunk
	for len(data) > 0 {
		n := min(len(data), cutLength)
		cd, err := c.Blobs.Put(ctx, data[:n])
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, store.Chunk{Digest: cd, Size: uint64(n)})
		data = data[n:]
	}
	if c.lie != nil {
		chunks = c.lie(chunks)
	}
	return chunks, nil
}

// counting counts calls, and fails them if told to.
type counting struct {
	store.Blobs
	opens, puts, creates atomic.Int64
	gate                 chan struct{} // Open waits for it to be closed, unless it is nil
	err                  error         // of every call that reads
}

func (c *counting) Has(ctx context.Context, d store.Digest) (bool, error) {
	if c.err != nil {
		return false, c.err
	}
	return c.Blobs.Has(ctx, d)
}

func (c *counting) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c.opens.Add(1)
	if c.gate != nil {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return c.Blobs.Open(ctx, d)
}

func (c *counting) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.Blobs.Chunks(ctx, d)
}

func (c *counting) Put(ctx context.Context, b []byte) (store.Digest, error) {
	c.puts.Add(1)
	return c.Blobs.Put(ctx, b)
}

func (c *counting) Create(ctx context.Context) (store.BlobWriter, error) {
	c.creates.Add(1)
	return c.Blobs.Create(ctx)
}

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(t *testing.T, b store.Blobs, data []byte) store.Digest {
	t.Helper()
	d, err := b.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(ctx context.Context, b store.Blobs, d store.Digest) ([]byte, error) {
	blob, err := b.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	var buf bytes.Buffer
	_, err = blob.WriteTo(&buf)
	return buf.Bytes(), err
}

func wantRead(t *testing.T, b store.Blobs, d store.Digest, want []byte) {
	t.Helper()
	if got, err := read(t.Context(), b, d); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
}

func wantHas(t *testing.T, b store.Blobs, d store.Digest, want bool) {
	t.Helper()
	if has, err := b.Has(t.Context(), d); has != want || err != nil {
		t.Errorf("Has = %v, %v, want %v", has, err, want)
	}
}

var errBroken = errors.New("broken")

// readOnly refuses writes.
type readOnly struct{ store.Blobs }

func (readOnly) Put(context.Context, []byte) (store.Digest, error) {
	return store.Digest{}, store.ErrReadOnly
}
func (readOnly) Create(context.Context) (store.BlobWriter, error) { return nil, store.ErrReadOnly }

// full refuses every blob at its end.
type full struct{ store.Blobs }

func (full) Put(context.Context, []byte) (store.Digest, error) { return store.Digest{}, errBroken }
func (f full) Create(ctx context.Context) (store.BlobWriter, error) {
	w, err := f.Blobs.Create(ctx)
	return fullWriter{w}, err
}

type fullWriter struct{ store.BlobWriter }

func (fullWriter) Commit() (store.Digest, error) { return store.Digest{}, errBroken }

// walking counts the walks.
type walking struct {
	store.Directories
	walks, gets atomic.Int64
	err         error
}

func (w *walking) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	w.gets.Add(1)
	if w.err != nil {
		return nil, w.err
	}
	return w.Directories.Get(ctx, d)
}

func (w *walking) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	w.walks.Add(1)
	if w.err != nil {
		return func(yield func(store.NamedDirectory, error) bool) { yield(store.NamedDirectory{}, w.err) }
	}
	return w.Directories.Walk(ctx, root)
}
