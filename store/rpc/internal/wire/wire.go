// Package wire holds what a client and a server of castar must agree on: the names of services and headers, the
// encoding of messages, the limits of a batch, proofs, and what a status code means.
package wire

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"castar/protos"
	"castar/store"
)

const (
	// TvixPackage and SnixPackage are the packages of the services: that of tvix, and that of snix since March 2025.
	TvixPackage = "tvix.castore.v1"
	SnixPackage = "snix.castore.v1"

	// InstanceHeader is a header of answers to Put and Stat. Its text changes whenever the server starts.
	InstanceHeader = "castar-instance"
	// PartialHeader is a header of a request to DirectoryService.Put. It says that the directories need not be a closure.
	PartialHeader = "castar-partial"

	// FrameSize is how many bytes of a blob one message carries. It is far below the 4 MiB that receivers accept by
	// default, and large enough to hide the cost of a message.
	FrameSize = 256 << 10

	// MostBlobs is how many blobs one batch may have. A question about a batch and its answer have a digest for each.
	MostBlobs = 8192
	// MostChunks is how many chunks a blob may have that GetMany sends in chunks: 16 GiB in chunks of 256 KiB.
	MostChunks = 65536
	// LengthsSize bounds what a batch adds to its blobs, in bytes: up to 3 for each length.
	LengthsSize = 3*MostBlobs + 64
)

// Under returns the description of a service of TvixPackage as another package has it.
func Under(pkg string, desc grpc.ServiceDesc) *grpc.ServiceDesc {
	desc.ServiceName = pkg + strings.TrimPrefix(desc.ServiceName, TvixPackage)
	return &desc
}

// RawDirectory returns a message with the encoding b of a directory. Marshalling it yields b unchanged, so b is never
// decoded.
func RawDirectory(b []byte) *protos.Directory {
	m := new(protos.Directory)
	m.ProtoReflect().SetUnknown(b)
	return m
}

// RecvDirectory returns the encoding of the next directory of a stream.
func RecvDirectory(stream interface{ RecvMsg(m any) error }) ([]byte, error) {
	var m emptypb.Empty // it has no fields, so it keeps all bytes as unknown ones
	if err := stream.RecvMsg(&m); err != nil {
		return nil, err
	}
	return m.ProtoReflect().GetUnknown(), nil
}

// Digests returns digests as messages have them. They share the memory of ds.
func Digests(ds []store.Digest) [][]byte {
	list := make([][]byte, len(ds))
	for i := range ds {
		list[i] = ds[i][:]
	}
	return list
}

// ParseDigests is the inverse of Digests.
func ParseDigests(list [][]byte) (ds []store.Digest, err error) {
	ds = make([]store.Digest, len(list))
	for i := 0; i < len(list) && err == nil; i++ {
		ds[i], err = store.DigestFromBytes(list[i])
	}
	return ds, err
}

// Chunks returns chunks as messages have them. They share the memory of chunks.
func Chunks(chunks []store.Chunk) (digests [][]byte, sizes []uint64) {
	digests, sizes = make([][]byte, len(chunks)), make([]uint64, len(chunks))
	for i := range chunks {
		digests[i], sizes[i] = chunks[i].Digest[:], chunks[i].Size
	}
	return digests, sizes
}

// ParseChunks is the inverse of Chunks. Lists of different lengths are an error.
func ParseChunks(digests [][]byte, sizes []uint64) (chunks []store.Chunk, err error) {
	if len(digests) != len(sizes) {
		return nil, fmt.Errorf("%d digests with %d sizes", len(digests), len(sizes))
	}
	chunks = make([]store.Chunk, len(digests))
	for i := 0; i < len(chunks) && err == nil; i++ {
		chunks[i].Size = sizes[i]
		chunks[i].Digest, err = store.DigestFromBytes(digests[i])
	}
	return chunks, err
}

// Meaning returns the error that a status code stands for, or nil. Servers choose the code by the error, and clients
// the error by the code.
func Meaning(code codes.Code) error {
	switch code {
	case codes.NotFound:
		return store.ErrNotFound
	case codes.PermissionDenied:
		return store.ErrReadOnly
	case codes.Unimplemented:
		return store.ErrUnsupported
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return nil
}

// Told returns the errors that a server tells by a code that stands for several, and by their text.
func Told(code codes.Code) []error {
	switch code {
	case codes.PermissionDenied:
		return []error{store.ErrDenied}
	case codes.AlreadyExists:
		return []error{store.ErrChanged}
	case codes.FailedPrecondition:
		return []error{store.ErrNewer, store.ErrNotAlone, store.ErrTagsLost, store.ErrLocked, store.ErrNothingKept}
	}
	return nil
}

// Error is why a call failed, in the words of the server or of the connection.
type Error struct {
	Code codes.Code
	Text string
}

// Error returns the text. It adds what the code means unless the text says it.
func (e *Error) Error() string {
	is := e.Unwrap()
	switch {
	case is != nil && !strings.Contains(e.Text, is.Error()):
		return e.Text + ": " + is.Error()
	case is != nil, slices.Contains([]codes.Code{codes.Unavailable, codes.Unauthenticated, codes.ResourceExhausted, codes.FailedPrecondition}, e.Code):
		return e.Text
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Text)
}

// Unwrap returns the error that the code stands for, with the text where it stands for several.
func (e *Error) Unwrap() error {
	for _, is := range Told(e.Code) {
		if strings.Contains(e.Text, is.Error()) {
			return is
		}
	}
	return Meaning(e.Code)
}
