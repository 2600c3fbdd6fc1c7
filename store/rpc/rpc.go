// Package rpc is a client: it presents a server of castore's BlobService and DirectoryService as a store. The server may
// be castar's (package server below), tvix's or snix's.
//
//	ctx := context.Background()
//	st, err := rpc.Dial(ctx, "grpc+unix:/run/castar.sock", nil)
//	...
//	defer st.Close()
//	w, err := st.Blobs.Create(ctx) // or Put, for a blob in memory
//	io.Copy(w, file)
//	d, err := w.Commit()           // the digest; the blob may still be on its way
//	err = st.Sync(ctx)             // now it is durable
//	...
//	b, err := st.Blobs.Open(ctx, d)
//	_, err = b.WriteTo(out)        // every byte is checked before it is written
//
// A blob goes to the server, and comes back, in the first of these ways that the server offers:
//
//	             to the server                          from the server
//
//	up to        in a batch with others, after the      in its group, with the blobs that were
//	512 KiB      server has said which blobs it lacks   compressed with it, once a few blobs were
//	                                                    read one at a time
//	             by itself: BlobService.Put             by itself: BlobService.Read
//	longer       as chunks, each put like a blob        chunk by chunk, each checked by its digest,
//	             of its own; then Join makes the        out of order with a proof
//	             blob of them
//	             as one stream, after the server        as one stream, checked against a proof
//	             has said that it lacks the blob
//	                                                    into a nameless file, and checked there
//
// A caller that will read many blobs says so (Expect in aheadblobs.go). Then the groups come in one call, in the order in which
// they are needed, as far ahead as memory allows, and are kept compressed until they are read: see keptgroups.go. Likewise
// directories: see aheaddirectories.go.
//
// Batches, groups and Join are castar.v1.BulkService (protos/rpc_bulk.proto), tags and the log are castar.v1.TagService,
// and garbage is collected by castar.v1.GcService (protos/rpc_tags.proto). Only castar's server has these. tvix and snix
// have the same messages in two packages, tvix.castore.v1 and snix.castore.v1. The client finds out which of the two its
// server knows.
//
// # Durability
//
// The protocol does not mention it, so a server of castar gives its answers a meaning. A directory upload
// (DirectoryService.Put) is durable once it is acknowledged, and so is every blob acknowledged before the upload ended. A
// blob by itself is visible at once. It becomes durable with the next directory upload, after a few seconds, or when the
// server shuts down, whichever comes first. Other servers promise less.
//
// So right after a directory upload, Sync does nothing; otherwise it puts the empty directory. A crash of the server in
// between must not go unnoticed, so its answers to Put name its instance. When the instance changes before everything
// is durable, the client fails from then on. The servers behind one name must therefore be one server.
//
// The instance also changes when the server closes its store, because a gc may then run. A client that sets a tag or
// records an ingest sends the instance that it knows. The server refuses if the instance has changed.
//
// # Headers
//
// Two headers are castar's own. Other programs ignore them.
//
//	castar-instance: TEXT   in answers to Put, and to Stat if Put is allowed: changes when the server starts
//	castar-partial: 1       in a request to DirectoryService.Put: the directories need not be a closure, nor durable
//
// # Proofs
//
// StatBlobResponse.bao is a Bao outboard encoding with chunk groups of 16 KiB (a shift of 4). A blob longer than one
// group has one. Upstream has not settled on a format and sends none.
//
//	offset  size
//	0       8     length of the blob in bytes, little-endian
//	8       64    for each inner node of the BLAKE3 tree above groups, in pre-order: the chaining values of its left
//	              and right child
package rpc

import "errors"

const (
	// inlineSize is the length up to which a blob is read in one call, without asking for its chunks first. It is the
	// length of the longest chunk that castore cuts.
	inlineSize = 512 << 10
	// windowSize is how much a server may send ahead on one call. It also bounds what is wasted when a reader turns
	// elsewhere.
	windowSize = 2 << 20
	// connWindowSize is how much a server may send ahead on all calls together.
	connWindowSize = 16 << 20
	// bufferSize is how much is read from the connection, or written to it, at once.
	bufferSize = 128 << 10
	// clientMessageSize is the length of the longest message that a client takes: a directory of a million entries, or
	// the chunks of a blob of 350 GiB.
	clientMessageSize = 64 << 20
)

// errNoAnswer ends a call that the server left unanswered for too long.
var errNoAnswer = errors.New("the server does not answer")
