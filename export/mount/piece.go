//go:build linux

package mount

import (
	"context"
	"sync"
	"sync/atomic"

	"castar/store"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// piece is the bytes of a whole blob or of a chunk, checked. They must not be changed. When nobody holds the piece any more,
// its memory is used for another one.
type piece struct {
	data   []byte
	memory *sync.Pool   // that data goes back to; may be nil
	users  atomic.Int32 // the cache, and requests that are being answered
	left   atomic.Int64 // how many bytes of it the kernel does not have yet
}

// newPiece returns a piece that the caller holds.
func newPiece(data []byte, memory *sync.Pool) *piece {
	p := &piece{data: data, memory: memory}
	p.users.Store(1)
	p.left.Store(int64(len(data)))
	return p
}

// hold reports whether the caller holds the piece now: it does not if nobody did any more.
func (p *piece) hold() bool {
	for {
		n := p.users.Load()
		if n == 0 {
			return false
		}
		if p.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends a hold.
func (p *piece) leave() {
	if p.users.Add(-1) == 0 && p.memory != nil {
		p.memory.Put(&p.data)
	}
}

func (p *piece) weight() int64 { return int64(cap(p.data)) + 100 }

// piece returns a piece, which the caller holds.
func (fs *fsys) piece(ctx context.Context, c store.Chunk) (*piece, error) {
	for {
		p, err := fs.pieces.get(ctx, contents{c.Digest, c.Size}, func() (*piece, error) { return fs.load(ctx, c) })
		if err != nil || p.hold() {
			return p, err
		}
	}
}

// load reads a piece from the store.
func (fs *fsys) load(ctx context.Context, c store.Chunk) (*piece, error) {
	if c.Size <= smallFile/8 || c.Size > smallFile {
		data, err := fs.fetch(ctx, c, nil)
		if err != nil {
			return nil, err
		}
		return newPiece(data, nil), nil
	}
	buf := fs.memory.Get().(*[]byte)
	data, err := fs.fetch(ctx, c, *buf)
	if err != nil {
		fs.memory.Put(buf)
		return nil, err
	}
	return newPiece(data, &fs.memory), nil
}

// pieceAhead reads a piece in the background, unless it is there. It returns false if too much is running already.
func (fs *fsys) pieceAhead(c store.Chunk) bool {
	return fs.pieces.knows(contents{c.Digest, c.Size}) || fs.background(func() {
		if p, err := fs.piece(fs.ctx, c); err == nil {
			p.leave()
		}
	})
}

// readResult is bytes of a file, in order. They go to the kernel as they are: readResult implements fuse.ReadResult,
// and what package fuse asks for beyond that where it need not copy.
type readResult struct {
	bytes  [][]byte
	pieces []*piece // that they are in
}

// add adds the bytes of a piece from an offset on, at most n, and takes over the caller's hold on it.
func (e *readResult) add(p *piece, from, n uint64) (added uint64) {
	data := p.data[from:]
	data = data[:min(uint64(len(data)), n)]
	e.bytes, e.pieces = append(e.bytes, data), append(e.pieces, p)
	return uint64(len(data))
}

// Size implements fuse.ReadResult.
func (e *readResult) Size() (n int) {
	for _, b := range e.bytes {
		n += len(b)
	}
	return n
}

// Bytes implements fuse.ReadResult.
func (e *readResult) Bytes(buf []byte) ([]byte, fuse.Status) {
	n := 0
	for _, b := range e.bytes {
		n += copy(buf[n:], b)
	}
	return buf[:n], fuse.OK
}

// Slices returns the bytes without copying them.
func (e *readResult) Slices() ([][]byte, fuse.Status) { return e.bytes, fuse.OK }

// Done implements fuse.ReadResult.
func (e *readResult) Done() {
	for _, p := range e.pieces {
		p.leave()
	}
	e.pieces = nil
}
