package cloud

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"castar/store/bucket"
)

// A pack is read in blocks. Who reads one after the other, as those do who read what was stored at about the same time,
// gets more and more of them at once, and ahead of what was asked for.
const (
	blockLen   = 512 << 10
	mostAtOnce = 4 << 20 // bytes of one request
	mostAhead  = 8 << 20 // bytes that are read ahead in one pack
	mostKept   = 144 << 20
	fetchers   = 10 // requests at once
)

// remote is a pack in a bucket. It may be used concurrently.
type remote struct {
	readOnly
	fs   *FS
	name string

	mu      sync.Mutex
	streams []stream
}

func (r *remote) Map() ([]byte, error) { return nil, errGone }

// Size implements durable.File.
func (r *remote) Size() (int64, error) {
	p := r.fs.parts
	p.mu.Lock()
	size, known := p.ends[r.name]
	p.mu.Unlock()
	if known {
		return size, nil
	}
	size, err := r.fs.b.Head(r.fs.ctx, r.name)
	if err == nil {
		p.learn([]bucket.Object{{Name: r.name, Size: size}})
	}
	return size, r.fs.failed(r.name, err)
}

// ReadAt implements io.ReaderAt.
func (r *remote) ReadAt(p []byte, off int64) (n int, err error) {
	const head = 64 // of a pack or a frame: often nothing else of the block is needed
	if len(p) <= head && !r.fs.parts.has(part{r.name, off / blockLen}) {
		b, err := r.fs.b.Get(r.fs.ctx, r.name, off, int64(len(p)))
		if n = copy(p, b); err == nil && n < len(p) {
			err = io.EOF
		}
		return n, r.fs.failed(r.name, err)
	}
	r.expect(off, int64(len(p)))
	for n < len(p) {
		at := off + int64(n)
		b, err := r.fs.parts.get(part{r.name, at / blockLen}, int(min(blockLen-at%blockLen, int64(len(p)-n))))
		if err != nil {
			return n, r.fs.failed(r.name, err)
		}
		from := at % blockLen
		if from >= int64(len(b)) {
			return n, io.EOF
		}
		n += copy(p[n:], b[from:])
	}
	return n, nil
}

// stream is somebody who reads one frame after the other. Several goroutines may do so together, so that reads are not in order.
type stream struct {
	high  int64 // the end of what was read
	ahead int64 // how much is read ahead
}

// expect begins to fetch what is read now, and what will probably be read next.
func (r *remote) expect(off, n int64) {
	const near, first, most = 4 << 20, 1 << 20, 4
	r.mu.Lock()
	i := slices.IndexFunc(r.streams, func(s stream) bool { return off <= s.high+near && off+n >= s.high-near })
	s := stream{high: off + n}
	if i >= 0 {
		s = r.streams[i]
		if off+n > s.high {
			s.high, s.ahead = off+n, min(max(2*s.ahead, first), mostAhead)
		}
		r.streams = slices.Delete(r.streams, i, i+1)
	}
	r.streams = append(r.streams, s) // the last that was used
	if len(r.streams) > most {
		r.streams = slices.Delete(r.streams, 0, 1)
	}
	r.mu.Unlock()
	r.fs.parts.want(r.name, off, off+n, max(0, s.high+s.ahead-off-n))
}

// part is the place of a block.
type part struct {
	name string
	n    int64
}

// block is a part of a pack, once it is ready.
type block struct {
	ready chan struct{}
	data  []byte
	err   error
	used  int64 // when it was last used, by the count of uses
	read  int   // how many bytes of it were read: most of one that was read as a whole is hardly needed again
}

// done reports whether a block that is ready was read.
func (b *block) done() bool { return b.read >= len(b.data)-len(b.data)/8 }

// parts has blocks of packs in memory. Its methods may be called concurrently.
type parts struct {
	fs      *FS
	slots   chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	blocks map[part]*block
	ends   map[string]int64 // lengths of packs, as far as they are known
	clock  int64
}

func newParts(f *FS) *parts {
	return &parts{fs: f, slots: make(chan struct{}, fetchers), blocks: map[part]*block{}, ends: map[string]int64{}}
}

func (p *parts) wait() { p.running.Wait() }

// learn remembers the lengths of packs, which never change.
func (p *parts) learn(objects []bucket.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range objects {
		if o.Size >= 0 {
			p.ends[o.Name] = o.Size
		}
	}
}

func (p *parts) has(at part) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks[at] != nil
}

// want begins to fetch a range of a pack, unless it is there, and more behind it where less than half as much is there.
func (p *parts) want(name string, from, to, ahead int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := to + ahead
	if size, ok := p.ends[name]; ok {
		end = min(end, size)
	}
	half := part{name, (to + ahead/2) / blockLen}
	if p.blocks[half] != nil || half.n*blockLen >= end {
		end = to
	}
	first := from / blockLen
	for n := first; n*blockLen < end; n++ {
		if p.blocks[part{name, n}] != nil || (n-first)*blockLen >= mostAtOnce {
			p.fetch(name, first, n)
			first = n
		}
		if p.blocks[part{name, n}] != nil {
			first = n + 1
		}
	}
	if last := (end + blockLen - 1) / blockLen; last > first {
		p.fetch(name, first, last)
	}
}

// Want begins to fetch a range of a pack, from one offset to before another, which will be read soon.
func (f *FS) Want(name string, from, to int64) { f.parts.want(name, from, to, 0) }

// fetch begins to fetch the blocks of a pack from one number to before another. The caller holds p.mu.
func (p *parts) fetch(name string, from, to int64) {
	if from >= to {
		return
	}
	p.makeRoom(int(to - from))
	blocks := make([]*block, to-from)
	for i := range blocks {
		p.clock++
		blocks[i] = &block{ready: make(chan struct{}), used: p.clock}
		p.blocks[part{name, from + int64(i)}] = blocks[i]
	}
	p.running.Go(func() {
		p.slots <- struct{}{}
		data, err := p.fs.b.Get(p.fs.ctx, name, from*blockLen, (to-from)*blockLen)
		<-p.slots
		p.mu.Lock()
		defer p.mu.Unlock()
		if end := from*blockLen + int64(len(data)); err == nil && end < to*blockLen && len(data) > 0 {
			p.ends[name] = end
		}
		for i, b := range blocks {
			if b.err = err; err == nil {
				b.data = bytes.Clone(data[:min(blockLen, len(data))]) // so that each can go by itself
				data = data[len(b.data):]
			} else if at := (part{name, from + int64(i)}); p.blocks[at] == b {
				delete(p.blocks, at) // whoever comes next tries again
			}
			close(b.ready)
		}
	})
}

// get returns a block, of which n bytes will be read. The last of a pack is shorter, and those after it are empty.
func (p *parts) get(at part, n int) ([]byte, error) {
	p.mu.Lock()
	b := p.blocks[at]
	if b == nil {
		p.fetch(at.name, at.n, at.n+1)
		b = p.blocks[at]
	}
	p.clock++
	b.used = p.clock
	b.read += n
	p.mu.Unlock()
	<-b.ready
	return b.data, b.err
}

// makeRoom forgets blocks, so that there is room for n more: those that were read to the end, and then those that were not
// used for the longest time. The caller holds p.mu.
func (p *parts) makeRoom(n int) {
	for len(p.blocks)+n > mostKept/blockLen {
		var oldest part
		var found *block
		for at, b := range p.blocks {
			select {
			case <-b.ready:
				if found == nil || b.done() && !found.done() || b.done() == found.done() && b.used < found.used {
					oldest, found = at, b
				}
			default:
			}
		}
		if found == nil {
			return
		}
		delete(p.blocks, oldest)
	}
}
