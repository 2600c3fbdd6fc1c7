//go:build cgo

package zstd

import "github.com/DataDog/zstd"

// Encoder compresses. Its methods may be called concurrently.
type Encoder struct {
	contexts chan zstd.Ctx // each serves one call at a time; the garbage collector frees them
	level    int
}

// NewEncoder returns an Encoder that compresses up to n buffers at once; further calls wait.
func NewEncoder(n, level int) (*Encoder, error) {
	e := &Encoder{make(chan zstd.Ctx, n), level}
	for range n {
		e.contexts <- nil // made at first use
	}
	return e, nil
}

// Append appends the frame of src to dst.
func (e *Encoder) Append(dst, src []byte) ([]byte, error) {
	at := len(dst)
	// The library writes into dst if that has room for the worst case.
	if bound := zstd.CompressBound(len(src)); cap(dst)-at < bound {
		dst = append(make([]byte, 0, at+bound), dst...)
	}
	ctx := <-e.contexts
	defer func() { e.contexts <- ctx }()
	if ctx == nil {
		ctx = zstd.NewCtx()
	}
	frame, err := ctx.CompressLevel(dst[at:at], src, e.level)
	return dst[:at+len(frame)], err
}
