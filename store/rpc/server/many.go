package server

import (
	"encoding/binary"
	"io"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// recentlySent is how many blobs a call of GetMany remembers that it has sent, so that it does not send their groups again.
// It takes up to a megabyte. Parts of a tree that were stored at the same time share groups, though they are far apart in it.
const recentlySent = 32 << 10

// manyStream is a call of GetMany.
type manyStream = grpc.BidiStreamingServer[protos.GetManyRequest, protos.GetManyResponse]

// GetMany sends the groups of blobs in the order in which the client asks for them.
func (b *bulkServer) GetMany(stream manyStream) error {
	if storeOf(stream.Context()).Groups == nil {
		return store.ErrUnsupported
	}
	m := many{b: b, stream: stream, sent: map[uint64]struct{}{}}
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = countBlobs(len(req.GetDigests()))
		}
		for i := 0; err == nil && i < len(req.GetDigests()); i++ {
			var d store.Digest
			if d, err = requested(req.GetDigests()[i]); err == nil {
				err = m.send(d)
			}
		}
		if err == nil && m.told < m.done {
			err = m.sendGroupAnswer(nil)
		}
		if err != nil {
			return err
		}
	}
}

// many is what a call of GetMany remembers.
type many struct {
	b          *bulkServer
	stream     manyStream
	sent, old  map[uint64]struct{} // by their keys, the blobs that were sent last, and those before
	done, told uint64              // number of blobs dealt with, and how many of these the client has heard of
}

// send sends the group of a blob, or its chunks, unless they were sent before or cannot be sent.
func (m *many) send(d store.Digest) error {
	m.done++
	if m.has(d) {
		return nil
	}
	found, err := m.sendGroup(d)
	if err != nil || found {
		return err
	}
	chunks, err := storeOf(m.stream.Context()).Blobs.Chunks(m.stream.Context(), d)
	if err != nil || len(chunks) == 0 || len(chunks) > wire.MostChunks {
		return passable(err)
	}
	list := &protos.GetManyResponse{Blob: d[:], Done: m.done - 1}
	list.Chunks, list.Sizes = wire.Chunks(chunks)
	if err := m.stream.Send(list); err != nil {
		return err
	}
	m.done--
	for i := 0; i < len(chunks) && err == nil; i++ {
		if !m.has(chunks[i].Digest) {
			_, err = m.sendGroup(chunks[i].Digest)
		}
	}
	m.done++
	if err == nil {
		err = m.sendGroupAnswer(nil)
	}
	return err
}

// passable returns nil instead of the error of a blob that is missing or damaged. The client meets it when it reads that
// blob.
func passable(err error) error {
	if store.IsNotFound(err) || store.IsCorrupt(err) {
		return nil
	}
	return err
}

// has reports whether a blob was sent not long ago.
func (m *many) has(d store.Digest) bool {
	_, sent := m.sent[key(d)]
	_, before := m.old[key(d)]
	return sent || before
}

// key stands for a blob. If another has the same one, the client asks for it once more.
func key(d store.Digest) uint64 { return binary.LittleEndian.Uint64(d[:]) }

// sendGroup sends the group of a blob or chunk, and reports whether it is in one.
func (m *many) sendGroup(d store.Digest) (found bool, err error) {
	resp, err := m.b.group(m.stream.Context(), d)
	if err != nil || len(resp.GetDigests()) == 0 {
		callOf(m.stream.Context()).give(makers)
		return false, passable(err)
	}
	for _, member := range resp.GetDigests() {
		if len(m.sent) >= recentlySent/2 {
			m.old, m.sent = m.sent, map[uint64]struct{}{}
		}
		m.sent[key(store.Digest(member))] = struct{}{}
	}
	return true, m.sendGroupAnswer(resp)
}

// sendGroupAnswer sends a group, and how many blobs were dealt with.
func (m *many) sendGroupAnswer(group *protos.GetBlobsResponse) error {
	m.told = m.done
	return m.stream.Send(&protos.GetManyResponse{Group: group, Done: m.done})
}
