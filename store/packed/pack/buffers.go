package pack

const (
	// bufferSize holds any group of blobs, and its head: it is full at GroupSize, and the last object that went in is
	// rarely larger than a chunk of the default greatest size.
	bufferSize = GroupSize + chunkBuffer
	// chunkBuffer holds such a chunk, and most groups as they are stored.
	chunkBuffer = 768 << 10
)

// smallBuffer is how many bytes a buffer has at most that is made for few bytes, and not used again.
const smallBuffer = 64 << 10

// LongestGroup is how many bytes a frame of the usual size has at most, as stored.
const LongestGroup = bufferSize

// buffers keeps buffers to be used again.
type buffers chan []byte

// get returns a buffer that was kept, or else a new one for n bytes.
func (c buffers) get(n int) []byte {
	select {
	case b := <-c:
		return b[:0]
	default:
		return make([]byte, 0, n)
	}
}

// buffer returns an empty buffer for about n bytes, to be released after use.
func (c *Coders) buffer(n int) []byte {
	switch {
	case n <= smallBuffer:
		return c.chunks.get(n)
	case n <= chunkBuffer:
		return c.chunks.get(chunkBuffer)
	}
	return c.groups.get(bufferSize)
}

// extend appends data to a buffer that is not to grow beyond bufferSize by much. It begins small, because many a session
// has few bytes, and is then replaced by one of those that are used again.
func (c *Coders) extend(b, data []byte) []byte {
	if n := len(b) + len(data); n > cap(b) && cap(b) < bufferSize {
		b = append(c.buffer(bufferSize), b...)
	}
	return append(b, data...)
}

// room returns a buffer that holds n bytes, and does not waste one on few.
func (c *Coders) room(n int) []byte {
	if n < bufferSize/2 || n > bufferSize {
		return nil
	}
	return c.buffer(n)
}

// release gives a buffer back. One that is too small or too large is left to the garbage collector.
func (c *Coders) release(b []byte) {
	to := c.groups
	if cap(b) < chunkBuffer || cap(b) > 4*bufferSize {
		return
	} else if cap(b) < bufferSize {
		to = c.chunks
	}
	select {
	case to <- b:
	default:
	}
}

// resize returns a slice of length n: b itself if it is large enough, or a new one that has room for a little more.
func resize(b []byte, n int) []byte {
	const step = 256 << 10
	if cap(b) >= n {
		return b[:n]
	}
	if n < step/4 {
		return make([]byte, n)
	}
	return make([]byte, n, (n+step-1)/step*step)
}
