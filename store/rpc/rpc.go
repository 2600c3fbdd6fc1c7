// Package rpc offers any store over gRPC, as the BlobService and DirectoryService of castore, and is itself a store
// whose other end is such a server: castar's, tvix's or snix's.
//
// tvix and snix speak the same messages under two package names, tvix.castore.v1 and snix.castore.v1. A Server answers
// to both; a client finds out which of them its server knows.
//
// # What is durable when
//
// The protocol has no word for it, so the server gives its answers a meaning. A directory upload (DirectoryService.Put)
// that was acknowledged is durable, and so is every blob whose Put was acknowledged before that upload was ended. A
// blob alone is visible at once, and durable after the next directory upload, at the latest after syncDelay, or when the
// server is shut down. Servers of others promise less.
//
// A client's Sync therefore does nothing where a directory upload has just made everything durable, and otherwise puts
// the empty directory. Against the crash of a server in between, answers to Put carry the server's instance in a
// header: a client that sees it change, while something is not yet durable, fails from then on. So the servers behind
// one name must be one.
//
// # Beyond the protocol
//
// A service, castar.v1.BulkService, which moves many blobs in one call, compressed together: what a client sends so, the
// store keeps as it comes, and what it asks for is sent as the store has it. A long blob is sent as the chunks of it that
// the store lacks. To servers of others a client sends a blob whole, after it has asked for it; directories go to all of
// them by closures, as the protocol wants it. And two headers, which other programs ignore:
//
//	castar-instance: TEXT   of answers to Put and Stat, where Put is allowed: differs each time a server is started
//	castar-partial: 1       of a request to DirectoryService.Put: the directories need not be a closure, nor durable
//
// # Proofs
//
// StatBlobResponse.bao is a Bao outboard encoding with chunk groups of 16 KiB (a shift of 4). A blob that is longer than
// one group has one; upstream has not decided on a format, and sends none:
//
//	offset  size
//	0       8     length of the blob in bytes, little-endian
//	8       64    for each inner node of the BLAKE3 tree above groups, in pre-order: the chaining values of its left
//	              and right child
package rpc

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"castar/protos"
)

const (
	// tvixPackage and snixPackage are the names under which tvix, and snix since March 2025, have the services.
	tvixPackage = "tvix.castore.v1"
	snixPackage = "snix.castore.v1"

	// frameSize is how many bytes of a blob go in one message: far below the 4 MiB that receivers take by default, and
	// so much that the cost of a message does not matter.
	frameSize = 256 << 10

	// inlineSize is the length up to which a blob is read in one call, without asking first what it is made of. It is
	// the greatest length of a chunk as castore cuts them.
	inlineSize = 512 << 10

	// windowSize is how much a sender may have on its way on one call. It also bounds what is sent in vain where a
	// reader turns out to want something else.
	windowSize = 512 << 10
	// serverWindow is the same on a server, until it reads a message: then it is as much as it reads at once. What is not
	// asked for stays with the client.
	serverWindow = 64 << 10
	// serverBuffer is how much of all calls on a connection a server reads at once.
	serverBuffer = 64 << 10
	// bufferSize is how much of all calls together is read or written at once.
	bufferSize = 128 << 10
	// connWindowSize is the same for all calls on one connection.
	connWindowSize = 16 << 20

	// clientMessageSize is the length of the longest message that a client takes. A directory of a million entries, or
	// the chunks of a blob of 350 GiB, have about that.
	clientMessageSize = 64 << 20

	// syncDelay is how long a blob that was put may stay without being durable.
	syncDelay = 5 * time.Second

	instanceHeader = "castar-instance"
	partialHeader  = "castar-partial"
)

// errNoAnswer ends a call on which the other side did nothing for too long.
var errNoAnswer = errors.New("the server does not answer")

// rawDirectory returns a message that is encoded as b, the encoding of a directory: what is unknown is passed on as it
// is, so that nothing has to be taken apart and put together again.
func rawDirectory(b []byte) *protos.Directory {
	m := new(protos.Directory)
	m.ProtoReflect().SetUnknown(b)
	return m
}

// receiver is a stream from which messages come, on either side.
type receiver interface{ RecvMsg(m any) error }

// recvDirectory returns the next directory as it is encoded. For the message without fields all are unknown.
func recvDirectory(r receiver) ([]byte, error) {
	var m emptypb.Empty
	if err := r.RecvMsg(&m); err != nil {
		return nil, err
	}
	return m.ProtoReflect().GetUnknown(), nil
}
