package wire

import (
	"math/bits"
	"sync"
)

// Buffers is a mem.BufferPool that does not clear buffers: see Codec. The length of a buffer is a power of two, from 1 KiB
// to 16 MiB. Longer ones are left to the garbage collector.
type Buffers struct {
	pools [leastBuffer + bufferSizes]sync.Pool // of *[]byte; pools[i] has those of 1<<i bytes
}

const (
	leastBuffer = 10
	bufferSizes = 15
)

// class returns the pool of buffers for n bytes. It does not exist if n is too large.
func class(n int) int { return max(leastBuffer, bits.Len(uint(max(n, 1)-1))) }

// Get returns a buffer of n bytes.
func (b *Buffers) Get(n int) *[]byte {
	i := class(n)
	if i >= len(b.pools) {
		buf := make([]byte, n)
		return &buf
	}
	buf, ok := b.pools[i].Get().(*[]byte)
	if !ok {
		buf = new([]byte)
		*buf = make([]byte, 1<<i)
	}
	*buf = (*buf)[:n]
	return buf
}

// Put takes a buffer back.
func (b *Buffers) Put(buf *[]byte) {
	*buf = (*buf)[:cap(*buf)]
	if i := class(len(*buf)); i < len(b.pools) && len(*buf) == 1<<i {
		b.pools[i].Put(buf)
	}
}
