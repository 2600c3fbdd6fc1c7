package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

const (
	// aheadBlobs is how many expected blobs the server is told of before it has dealt with them. As a message they are
	// shorter than the window of a call, so that sending never waits for receiving.
	aheadBlobs = 1024
	// aheadBatch is how many of them one request has, at least.
	aheadBatch = 128
	// aheadBytes is how many bytes of groups may wait to be read from for the first time. Then the client takes no more,
	// unless somebody waits for a blob to come.
	aheadBytes = groupsSize / 4
	// aheadPatience is how many requests a reader waits for, in case that the blob that it wants is in one of them.
	aheadPatience = 2 * aheadBlobs / aheadBatch
)

// ahead is a call of GetMany, in which groups come in the order in which their blobs will be read.
type ahead struct {
	g         *groups
	call      *call
	stream    grpc.BidiStreamingClient[protos.GetManyRequest, protos.GetManyResponse]
	next      func() (store.Digest, bool) // the next expected blob
	last      bool                        // there is none
	asked     []store.Digest              // what the server has not dealt with
	chunks    []store.Digest              // of the blob that it deals with
	spare     int                         // how many groups it may send for these that are here already
	done, all uint64                      // how many blobs it has dealt with, of those that it was told of
}

// Expect implements store.RemoteBlobs. If the server does not know GetMany, blobs are read one by one, many at a time.
func (b blobs) Expect(ctx context.Context, ds iter.Seq[store.Digest]) {
	g := &b.c.groups
	g.stir(+1)
	ran := b.c.outbox.run(func() {
		defer g.stir(-1)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(b.c.outbox.ctx, cancel)()
		select {
		case g.streaming <- struct{}{}:
			defer func() { <-g.streaming }()
			_ = b.c.readAhead(ctx, ds) // what did not come is asked for again, and meets the error then
		case <-ctx.Done():
		}
	})
	if !ran {
		g.stir(-1)
	}
}

// readAhead has groups sent until all blobs of ds have come, or something fails.
func (c *client) readAhead(ctx context.Context, ds iter.Seq[store.Digest]) error {
	next, stop := iter.Pull(ds)
	defer stop()
	a := &ahead{g: &c.groups, call: c.begin(ctx), next: next}
	defer a.call.end()
	defer func() {
		a.g.settle(a.asked)
		a.g.settle(a.chunks)
	}()
	var err error
	if a.stream, err = c.bulk.GetMany(a.call.ctx); err != nil {
		return err
	}
	for err == nil && !(a.last && len(a.asked) == 0) {
		if err = a.ask(); err == nil && len(a.asked) > 0 {
			err = a.receive(ctx)
		}
	}
	if status.Code(err) == codes.Unimplemented {
		return c.readSingly(ctx, a)
	}
	return err
}

// ask tells the server of more blobs if it has dealt with enough of the earlier ones.
func (a *ahead) ask() error {
	for !a.last && len(a.asked) <= aheadBlobs-aheadBatch {
		req := new(protos.GetManyRequest)
		for len(req.Digests) < aheadBatch {
			d, ok := a.next()
			if a.last = !ok; a.last {
				break
			}
			if a.g.expect(d) {
				a.asked = append(a.asked, d)
				req.Digests = append(req.Digests, d[:])
			}
		}
		a.all += uint64(len(req.Digests))
		a.g.stir(0)
		err := a.call.wait(func() error {
			if len(req.Digests) == 0 {
				return nil
			}
			err := a.stream.Send(req)
			if err == io.EOF { // the reason is the answer
				_, err = a.stream.Recv()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// receive takes the next message. Each must bring a blob that was asked for, or a chunk of one, or say that the server has
// dealt with one. So there are no more messages than blobs and chunks.
func (a *ahead) receive(ctx context.Context) error {
	if err := a.g.pause(ctx); err != nil {
		return err
	}
	var resp *protos.GetManyResponse
	err := a.call.wait(func() (err error) {
		resp, err = a.stream.Recv()
		return err
	})
	if err == io.EOF {
		err = errors.New("the server ended the call early")
	}
	if err != nil {
		return err
	}
	came := 0
	if len(resp.GetGroup().GetDigests()) > 0 {
		group, err := receive(resp.GetGroup())
		if err != nil {
			return err
		}
		came = a.g.keepAhead(group)
	}
	if len(resp.GetBlob()) > 0 {
		if err := a.list(resp); err != nil {
			return err
		}
		came++
	}
	dealt := resp.GetDone() - a.done
	if dealt == 0 && came == 0 {
		a.spare--
	}
	if resp.GetDone() < a.done || resp.GetDone() > a.all || a.spare < 0 {
		return fmt.Errorf("the server has dealt with %d of %d blobs after %d", resp.GetDone(), a.all, a.done)
	}
	a.g.settle(a.asked[:dealt])
	if dealt > 0 && len(resp.GetBlob()) == 0 {
		a.g.settle(a.chunks)
		a.chunks, a.spare = nil, 0
	}
	a.asked, a.done = a.asked[dealt:], resp.GetDone()
	return nil
}

// list takes the list of the chunks of a blob that was asked for. They come next.
func (a *ahead) list(resp *protos.GetManyResponse) error {
	d, err := store.DigestFromBytes(resp.GetBlob())
	if err != nil {
		return err
	}
	chunks, err := wire.ParseChunks(resp.GetChunks(), resp.GetSizes())
	if err == nil {
		err = checkSizes(chunks)
	}
	if err == nil && len(chunks) > wire.MostChunks {
		err = fmt.Errorf("%d chunks", len(chunks))
	}
	if err != nil {
		return fmt.Errorf("blob %s: %w", d, err)
	}
	a.g.settle(a.chunks)
	a.chunks, a.spare = nil, len(chunks)
	for i := range chunks {
		if a.g.expect(chunks[i].Digest) {
			a.chunks = append(a.chunks, chunks[i].Digest)
		}
	}
	if !a.g.addList(d, chunks) {
		return fmt.Errorf("blob %s, which nobody asked for", d)
	}
	return nil
}

// maxListed is how many chunks the lists that are kept have: 10 MB of them.
const maxListed = 256 << 10

// addList keeps the chunks of a blob that was to come, and drops the oldest lists if there are too many. It reports whether
// the blob was to come.
func (g *groups) addList(d store.Digest, chunks []store.Chunk) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lists[d] = chunks
	g.listOrder = append(g.listOrder, d)
	g.listed += len(chunks)
	for g.listed > maxListed && len(g.listOrder) > 1 {
		oldest := g.listOrder[0]
		g.listOrder = g.listOrder[1:]
		g.listed -= len(g.lists[oldest])
		delete(g.lists, oldest)
	}
	return g.arrived(d)
}

// chunks returns the chunks of a blob if the server has listed them, and whether it is known how the blob is stored. There
// are none if it is stored in one chunk.
func (g *groups) chunks(d store.Digest) (chunks []store.Chunk, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m, ok := g.kept.members[d]; ok && !m.group.single {
		return nil, true
	}
	chunks, known = g.lists[d]
	return slices.Clone(chunks), known
}

// expect notes that d will be read, and reports whether it must be asked for.
func (g *groups) expect(d store.Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m, kept := g.kept.members[d]; kept {
		g.kept.expect(m)
		return false
	}
	c, again := g.coming[d]
	c.times++
	g.coming[d] = c
	return !again
}

// settle notes that blobs have come, or that they will not come.
func (g *groups) settle(ds []store.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range ds {
		g.arrived(d)
	}
}

// arrived lets those go on that wait for d, and reports whether it was to come. The caller holds g.mu.
func (g *groups) arrived(d store.Digest) bool {
	c, ok := g.coming[d]
	if c.done != nil {
		close(c.done)
	}
	delete(g.coming, d)
	return ok
}

// keepAhead keeps a group that nobody has read from, and returns how many blobs in it were to come.
func (g *groups) keepAhead(group *keptGroup) (came int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.insert(group)
	for i := range group.members {
		if g.arrived(group.members[i].Digest) {
			came++
		}
	}
	return came
}

// await waits for a blob that is to come. If it does not know d, and more blobs will be asked for, it waits for a few
// requests. It does not wait for a blob that came and was forgotten before it was read: if that is to come once more, then
// after many others.
func (g *groups) await(ctx context.Context, d store.Digest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range aheadPatience {
		c, coming := g.coming[d]
		_, kept := g.kept.members[d]
		waiting := g.stirred
		switch {
		case kept || !coming && (g.aheads == 0 || g.lists[d] != nil) || g.kept.lost.has(d):
			return nil
		case coming:
			if c.done == nil {
				c.done = make(chan struct{})
				g.coming[d] = c
			}
			waiting = c.done
		}
		g.waiting++
		g.mu.Unlock()
		g.poke()
		select {
		case <-waiting:
		case <-ctx.Done():
		}
		g.mu.Lock()
		g.waiting--
		if coming || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// stir notes that more, or less, is read ahead, or that more blobs will come. Those that wait for that look again.
func (g *groups) stir(aheads int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aheads += aheads
	close(g.stirred)
	g.stirred = make(chan struct{})
}

// pause waits while there is much that nobody has read, and nobody waits for more.
func (g *groups) pause(ctx context.Context) error {
	for {
		g.mu.Lock()
		enough := g.kept.unread > aheadBytes && g.waiting == 0
		g.mu.Unlock()
		if !enough {
			return nil
		}
		select {
		case <-g.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// poke has pause look again.
func (g *groups) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}
