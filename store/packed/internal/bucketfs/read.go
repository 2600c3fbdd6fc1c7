package bucketfs

import (
	"bytes"
	"io"
	"math"
	"path"
	"sync"

	"castar/store/bucket"
	"castar/store/packed/pack"
)

// A pack is read in blocks. Who reads much of a store reads most of each pack. So the more was read, the more is fetched
// around what is asked for, in fewer requests.
const (
	blockLen   = 512 << 10
	mostAtOnce = 8 << 20  // bytes of one request, or half as many again where a pack ends
	mostKept   = 64 << 20 // bytes in memory
	// mostCachedParts is how many bytes of packs with contents a process adds to the cache.
	mostCachedParts = 4 << 20
	mostRead        = 1 << 16 // blocks that are known to have been read
	fetchers        = 10      // requests at once
)

// remote is a pack in a bucket. It may be used concurrently.
type remote struct {
	readOnly
	fs   *FS
	name string
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
	if len(p) <= head && r.fs.parts.lacks(part{r.name, off / blockLen}) {
		b, err := r.fs.b.Get(r.fs.ctx, r.name, off, int64(len(p)))
		if n = copy(p, b); err == nil && n < len(p) {
			err = io.EOF
		}
		return n, r.fs.failed(r.name, err)
	}
	r.fs.parts.expect(r.name, off, off+int64(len(p)))
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

	mu            sync.Mutex
	blocks        map[part]*block
	spilled       spill
	over          map[part]bool    // blocks that were read, and that are hardly needed again
	ends          map[string]int64 // lengths of packs, as far as they are known
	clock         int64
	read, fetched int64 // bytes, the latest of them; see expect
}

// Close waits for what is on its way. Nobody may be reading.
func (p *parts) Close() error {
	p.running.Wait()
	return p.spilled.Close()
}

// here reports whether a block is on this machine, or on its way. The caller holds p.mu.
func (p *parts) here(at part) bool { return p.blocks[at] != nil || p.spilled.has(at) }

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

// lacks reports whether a block is neither here nor to be kept in the cache.
func (p *parts) lacks(at part) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.here(at) && !p.few()
}

// few reports whether this process has fetched so little that it goes into the cache. The caller holds p.mu.
func (p *parts) few() bool { return p.fetched <= mostCachedParts && !p.fs.anew }

// Want begins to fetch a range of a pack, from one offset to before another, which will be read soon.
func (f *FS) Want(name string, from, to int64) {
	f.parts.mu.Lock()
	defer f.parts.mu.Unlock()
	f.parts.fill(name, from, to, false)
}

// expect begins to fetch a range of a pack that is read now, and what will probably be read next: the rest of a span around
// it, and the next span if it is near. If much of what was fetched was not read, it waits for a second read in the span.
func (p *parts) expect(name string, from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	span := int64(blockLen)
	for span < mostAtOnce && span <= p.read {
		span *= 2
	}
	first, last := from/span*span, (to+span/2+span-1)/span*span
	if end := p.end(name); end < last+span/2 {
		last = end
	}
	wasteful := p.fetched > 2*p.read+mostAtOnce
	if span == blockLen || wasteful && !p.hasAny(name, first, last) {
		first, last = from, to
	}
	p.fill(name, first, last, true)
	p.fill(name, from, to, false)
}

// hasAny reports whether there is a block of a range, or there was. The caller holds p.mu.
func (p *parts) hasAny(name string, from, to int64) bool {
	for at := (part{name, from / blockLen}); at.n*blockLen < to; at.n++ {
		if p.here(at) || p.over[at] {
			return true
		}
	}
	return false
}

// end is the length of a pack, as far as it is known. The caller holds p.mu.
func (p *parts) end(name string) int64 {
	n, ok := p.ends[name]
	if !ok {
		n = math.MaxInt64
		if id, isPack := pack.ParseName(path.Base(name)); isPack && p.fs.Length != nil {
			n = p.fs.Length(id)
		}
	}
	return n
}

// fill begins to fetch what is missing of a range of a pack, but for blocks that were read already, if these are not wanted
// again. The caller holds p.mu.
func (p *parts) fill(name string, from, to int64, unread bool) {
	first, last := from/blockLen, (to+blockLen-1)/blockLen
	for n := first; n <= last; n++ {
		at := part{name, n}
		there := n < last && (p.here(at) || unread && p.over[at])
		enough := (n-first)*blockLen >= mostAtOnce && (last-n)*blockLen > mostAtOnce/2
		if there || enough || n == last {
			p.fetch(name, first, n)
			first = n
		}
		if there {
			first++
		}
	}
}

// fetch begins to fetch the blocks of a pack from one number to before another. The caller holds p.mu.
func (p *parts) fetch(name string, from, to int64) {
	if from >= to {
		return
	}
	p.makeRoom(int(to - from))
	p.fetched += max(0, min(to*blockLen, p.end(name))-from*blockLen)
	blocks := make([]*block, to-from)
	for i := range blocks {
		p.clock++
		blocks[i] = &block{ready: make(chan struct{}), used: p.clock}
		p.blocks[part{name, from + int64(i)}] = blocks[i]
	}
	few := p.few()
	p.running.Go(func() {
		data, err := p.load(name, from, to, few)
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

// load returns blocks of a pack: from the cache if it has all of them, or from the bucket. With few it adds them to the
// cache: a caller that reads a little, such as what is known of the files of a tree, often does so again.
func (p *parts) load(name string, from, to int64, few bool) ([]byte, error) {
	cache := p.fs.cache
	if !p.fs.anew {
		if data := cache.blocks(name, from, to); data != nil {
			return data, nil
		}
	}
	p.slots <- struct{}{}
	data, err := p.fs.b.Get(p.fs.ctx, name, from*blockLen, (to-from)*blockLen)
	<-p.slots
	for n, rest := from, data; err == nil && few && len(rest) > 0; n++ {
		length := min(blockLen, len(rest))
		cache.add(blockName(name, n), bytes.NewReader(rest[:length]), int64(length))
		rest = rest[length:]
	}
	return data, err
}

// get returns a block. The caller will read n bytes of it. The last of a pack is shorter, and those after it are empty.
func (p *parts) get(at part, n int) ([]byte, error) {
	p.mu.Lock()
	if p.blocks[at] == nil && !p.unspill(at) {
		p.fetch(at.name, at.n, at.n+1)
	}
	b := p.blocks[at]
	p.clock++
	b.used = p.clock
	b.read += n
	p.count(int64(n))
	p.mu.Unlock()
	<-b.ready
	return b.data, b.err
}

// unspill reads a block back into memory, and reports whether it was spilled. The caller holds p.mu.
func (p *parts) unspill(at part) bool {
	data := p.spilled.get(at)
	if data == nil {
		return false
	}
	p.makeRoom(1)
	b := &block{ready: make(chan struct{}), data: data}
	close(b.ready)
	p.blocks[at] = b
	return true
}

// count counts bytes that are read. What was long ago counts less and less. The caller holds p.mu.
func (p *parts) count(n int64) {
	const lately = 64 << 20
	if p.read += n; p.read > lately {
		p.read, p.fetched = p.read/2, p.fetched/2
	}
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
		if !p.fs.anew { // a check reads nothing twice
			p.spilled.add(oldest, found.data, p.fs.newFile)
		}
		if !found.done() {
			continue
		}
		if len(p.over) == mostRead {
			clear(p.over)
		}
		p.over[oldest] = true
	}
}
