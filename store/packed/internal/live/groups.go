package live

import (
	"context"
	"errors"
	"fmt"
	"io"

	"castar/store"
	"castar/store/packed/pack"
)

// PutGroup implements store.Grouper. It keeps the frame as it is if all objects in it are new, and if it is as long as the
// frames that this store makes. Otherwise it puts the objects one by one.
func (b Blobs) PutGroup(ctx context.Context, raw []byte, sizes []int, frame []byte) ([]store.Digest, error) {
	g, err := b.st.divide(raw, sizes)
	if err != nil {
		return nil, err
	}
	taken, err := b.st.putFrame(g.items, raw, frame)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(g.items) && !taken; i++ {
		it := &g.items[i]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := b.st.PutWhole(pack.KindData, 0, it.Digest, raw[:it.Size]); err != nil {
			return nil, err
		}
		raw = raw[it.Size:]
	}
	for i, d := range g.digests {
		if g.lists[i] == nil {
			continue
		}
		if err := b.st.PutWhole(pack.KindList, 0, d, g.lists[i]); err != nil {
			return nil, err
		}
	}
	return g.digests, b.st.checkpoint()
}

// TakeGroup implements store.Taker. It keeps the frame on the same conditions as PutGroup.
func (b Blobs) TakeGroup(_ context.Context, g store.Group, raw []byte) (bool, error) {
	items := make([]pack.Item, len(g.Members))
	for i, m := range g.Members {
		items[i] = pack.Item{Digest: m.Digest, Size: uint32(m.Size)}
	}
	taken, err := b.st.putFrame(items, raw, g.Frame)
	if err == nil {
		err = b.st.checkpoint()
	}
	return taken, err
}

// TakeList implements store.Taker.
func (b Blobs) TakeList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	chunks, err := b.st.resolve(ctx, chunks)
	if err != nil || len(chunks) < 2 { // one is the blob itself, and there
		return err
	}
	return b.st.PutWhole(pack.KindList, 0, d, pack.AppendList(nil, chunks))
}

// Group implements store.Grouper.
func (b Blobs) Group(ctx context.Context, d store.Digest) (g store.Group, err error) {
	st := b.st
	l, data, err := st.Lookup(pack.KindData, d, true)
	if err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return g, err
	case l.Frame.Kind == pack.KindList || l.Frame.Stored > pack.LongestGroup:
		return g, fmt.Errorf("%s is in no group: %w", d, store.ErrUnsupported)
	case data != nil:
		return store.Group{Members: []store.Chunk{{Digest: d, Size: uint64(len(data))}}, Plain: data}, nil
	}
	loaded := st.Loaded.Get().(*pack.Loaded)
	compressed, err := st.Packs.LoadStored(l.Frame, loaded)
	if st.movedAway(err) {
		return b.Group(ctx, d)
	}
	if err != nil {
		return g, st.about(d, err)
	}
	items := loaded.Head.Items
	g = store.Group{Members: make([]store.Chunk, len(items)), Release: func() { st.Loaded.Put(loaded) }}
	for i := range items {
		g.Members[i] = store.Chunk{Digest: items[i].Digest, Size: uint64(items[i].Size)}
	}
	if compressed {
		g.Frame = loaded.Payload()
	} else {
		g.Plain = loaded.Payload()
	}
	return g, nil
}

// division is what blobs consist of that lie one right after the other.
type division struct {
	digests []store.Digest // of the blobs
	lists   [][]byte       // of the chunks of each, or nil if it has one
	items   []pack.Item    // the blobs of one chunk, and the chunks of the others, in order
}

// divide hashes blobs, and cuts them into chunks.
func (st *Store) divide(raw []byte, sizes []int) (*division, error) {
	g := &division{lists: make([][]byte, len(sizes))}
	for i, n := range sizes {
		if n < 0 || n > len(raw) {
			return nil, errors.New("blobs are longer than their group")
		}
		data := raw[:n]
		d := store.Sum(data)
		g.digests = append(g.digests, d)
		for rest := data; len(rest) > 0 || n == 0; {
			cut := st.Cutter.Cut(rest)
			if cut == n {
				g.items = append(g.items, pack.Item{Digest: d, Size: uint32(n)})
				break
			}
			c := pack.Item{Digest: store.Sum(rest[:cut]), Size: uint32(cut)}
			g.items = append(g.items, c)
			g.lists[i] = pack.AppendList(g.lists[i], []store.Chunk{{Digest: c.Digest, Size: uint64(cut)}})
			rest = rest[cut:]
		}
		raw = raw[n:]
	}
	if len(raw) > 0 {
		return nil, errors.New("blobs are shorter than their group")
	}
	return g, nil
}

// putFrame stores items, whose bytes are raw, as the frame that they are compressed to. It reports false, and stores nothing,
// if the store has any of them, if anything is in the group twice, or if it is not about as long as the groups that this store
// makes.
func (st *Store) putFrame(items []pack.Item, raw, frame []byte) (bool, error) {
	if len(raw) < pack.GroupSize/4 || len(raw) > pack.LongestGroup {
		return false, nil
	}
	s, err := st.taking()
	if err != nil {
		return false, err
	}
	for i := range items {
		if st.Has(pack.KindData, &items[i].Digest) {
			return false, nil
		}
	}
	taken := s.addGroup(&pack.Group{Kind: pack.KindData, Items: items, Raw: raw, Encoded: frame})
	if taken == nil {
		return false, nil
	}
	return true, st.write(s, taken, false)
}

// ChunkSize implements store.Joiner.
func (b Blobs) ChunkSize() int { return b.st.Cutter.Params().Avg }

// Join implements store.Joiner.
func (b Blobs) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	st := b.st
	if err := errors.Join(ctx.Err(), st.Writable()); err != nil {
		return err
	}
	if st.Has(pack.KindData, &d) {
		return nil
	}
	chunks, err := st.resolve(ctx, chunks)
	if err != nil {
		return err
	}
	if len(chunks) == 0 {
		return fmt.Errorf("no chunks of %s: %w", d, store.ErrDigestMismatch)
	}
	_, err = st.reader(ctx, d, chunks).WriteTo(io.Discard)
	if store.IsCorrupt(err) {
		err = st.blame(ctx, d, chunks)
	}
	if err != nil || len(chunks) == 1 { // which is the blob itself, and there
		return err
	}
	return st.PutWhole(pack.KindList, 0, d, pack.AppendList(nil, chunks))
}

// resolve returns the chunks that chunks consist of, after a check that the store has them all. A chunk that was cut further
// when it was put is itself a list.
func (st *Store) resolve(ctx context.Context, chunks []store.Chunk) ([]store.Chunk, error) {
	whole := make([]store.Chunk, 0, len(chunks))
	for i := range chunks {
		c := &chunks[i]
		l, _, err := st.Lookup(pack.KindData, c.Digest, false)
		if err != nil {
			return nil, fmt.Errorf("chunk %w", err)
		}
		if l.Frame.Kind != pack.KindList {
			if uint64(l.Size) != c.Size || c.Size == 0 {
				return nil, fmt.Errorf("chunk %s has %d bytes, not %d: %w", c.Digest, l.Size, c.Size, store.ErrDigestMismatch)
			}
			whole = append(whole, *c)
			continue
		}
		parts, err := st.Blobs().Chunks(ctx, c.Digest)
		if err != nil {
			return nil, err
		}
		whole = append(whole, parts...)
	}
	return whole, nil
}

// blame returns why chunks do not make up the blob d: one of them is damaged, or they are of another blob.
func (st *Store) blame(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	for _, c := range chunks {
		p, err := st.chunk(c.Digest, c)
		if err == nil {
			if store.Sum(p.Data) != c.Digest {
				err = &store.CorruptError{Digest: c.Digest, Err: store.ErrDigestMismatch}
			}
			p.Release()
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: the chunks make up something else: %w", d, store.ErrDigestMismatch)
}
