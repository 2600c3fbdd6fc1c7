//go:build cgo

package zstd

import "github.com/DataDog/zstd"

// contexts are those of the library, each of which serves one call at a time. The garbage collector frees them.
type contexts chan zstd.Ctx

func newContexts(n int) contexts {
	c := make(contexts, n)
	for range n {
		c <- nil // made at first use
	}
	return c
}

// use calls f with a context. It waits for one.
func (c contexts) use(f func(zstd.Ctx)) {
	ctx := <-c
	defer func() { c <- ctx }()
	if ctx == nil {
		ctx = zstd.NewCtx()
	}
	f(ctx)
}

// Encoder compresses. Its methods may be called concurrently.
type Encoder struct {
	contexts contexts
	level    int
}

// NewEncoder returns an Encoder that compresses up to n buffers at once; further calls wait.
func NewEncoder(n, level int) (*Encoder, error) { return &Encoder{newContexts(n), level}, nil }

// Append appends the frame of src to dst.
func (e *Encoder) Append(dst, src []byte) (_ []byte, err error) {
	at := len(dst)
	// The library writes into dst if that has room for the worst case.
	if bound := zstd.CompressBound(len(src)); cap(dst)-at < bound {
		dst = append(make([]byte, 0, at+bound), dst...)
	}
	var frame []byte
	e.contexts.use(func(ctx zstd.Ctx) { frame, err = ctx.CompressLevel(dst[at:at], src, e.level) })
	return dst[:at+len(frame)], err
}

// fast decompresses with the library.
type fast struct{ contexts contexts }

func newFast(n int) fast { return fast{newContexts(n)} }

// decode decodes src into dst. It reports false if dst is not worth a call of C, or if src does not make exactly len(dst)
// bytes. The library also takes frames of formats before RFC 8878, by code that few use. So it gets only what is Single.
func (f fast) decode(dst, src []byte) (ok bool) {
	const least = 64 << 10
	if len(dst) < least || !Single(src) {
		return false
	}
	f.contexts.use(func(ctx zstd.Ctx) {
		n, err := ctx.DecompressInto(dst, src)
		ok = err == nil && n == len(dst)
	})
	return ok
}
