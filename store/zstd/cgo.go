//go:build cgo

package zstd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/DataDog/zstd"
)

// contexts are the states of the C library: each serves one call at a time, and is freed with the garbage.
type contexts chan zstd.Ctx

func newContexts(n int) contexts {
	c := make(contexts, n)
	for range n {
		c <- nil // made when it is first needed
	}
	return c
}

func (c contexts) use(f func(zstd.Ctx) error) error {
	ctx := <-c
	defer func() { c <- ctx }()
	if ctx == nil {
		ctx = zstd.NewCtx()
	}
	return f(ctx)
}

// Encoder compresses. Its methods may be called concurrently.
type Encoder struct {
	contexts contexts
	level    int
}

// NewEncoder returns an encoder of a level that compresses n buffers at once; further calls wait.
func NewEncoder(n, level int) (*Encoder, error) { return &Encoder{newContexts(n), level}, nil }

// Append appends the frame of src to dst.
func (e *Encoder) Append(dst, src []byte) (out []byte, err error) {
	at := len(dst)
	// The library writes into room that holds the worst case, and never beyond it.
	if bound := zstd.CompressBound(len(src)); cap(dst)-at < bound {
		dst = append(make([]byte, 0, at+bound), dst...)
	}
	err = e.contexts.use(func(ctx zstd.Ctx) error {
		frame, err := ctx.CompressLevel(dst[at:at], src, e.level)
		out = dst[:at+len(frame)]
		return err
	})
	return out, err
}

// Decoder decompresses. Its methods may be called concurrently.
type Decoder struct{ contexts contexts }

// NewDecoder returns a decoder that decompresses n buffers at once; further calls wait.
func NewDecoder(n int) (*Decoder, error) { return &Decoder{newContexts(n)}, nil }

// Decode fills dst with what src decodes to. The error is ErrSize where that is more or fewer bytes than dst has, and
// otherwise says how src is damaged.
func (d *Decoder) Decode(dst, src []byte) error {
	if len(src) == 0 {
		return fmt.Errorf("%w: there are no bytes", ErrSize)
	}
	room := dst
	if len(room) == 0 {
		room = make([]byte, 1) // the library needs an address
	}
	return d.contexts.use(func(ctx zstd.Ctx) error {
		n, err := ctx.DecompressInto(room, src)
		switch {
		case err == nil && n == len(dst):
			return nil
		case err == nil, zstd.IsDstSizeTooSmallError(err):
			return ErrSize
		}
		return errors.New(strings.ToLower(err.Error())) // a message of the library
	})
}
