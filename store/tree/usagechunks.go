package tree

import (
	"cmp"
	"context"

	"castar/store"
	"castar/store/chunk"
)

// A store that is far away is asked for the chunks of many files at once.
const (
	filesWaiting = 1024 // how many files are collected first
	filesAtOnce  = 100  // how many questions are under way at a time
)

// waitingFile is a file of a tree whose chunks are to be counted.
type waitingFile struct {
	at   *trail
	node store.Node
}

// countChunks counts the chunks of a file, now or later.
func (u *Usage) countChunks(ctx context.Context, f waitingFile) error {
	switch {
	case u.sizesOnly && u.st.Sizer == nil:
		return nil
	case !u.st.Far:
		chunks, err := u.st.Blobs.Chunks(ctx, f.node.Digest)
		return u.count(ctx, f, chunks, err)
	}
	if u.waiting = append(u.waiting, f); len(u.waiting) < filesWaiting {
		return nil
	}
	return u.countWaiting(ctx)
}

// countWaiting counts the chunks of all files that wait, also after an error: Add will not meet these files again. The
// error is that of the first file in the order of the tree.
func (u *Usage) countWaiting(ctx context.Context) (first error) {
	type answer struct {
		chunks []store.Chunk
		err    error
	}
	ask := func(ctx context.Context, i int) (a answer, _ error) {
		a.chunks, a.err = u.st.Blobs.Chunks(ctx, u.waiting[i].node.Digest)
		return a, nil
	}
	i := 0
	for a := range chunk.Ahead(ctx, len(u.waiting), filesAtOnce-1, ask, nil) {
		first = cmp.Or(first, u.count(ctx, u.waiting[i], a.chunks, a.err))
		i++
	}
	u.waiting = u.waiting[:0]
	return first
}

// count adds the chunks of a file that are new, or all of the file if it has none. err is that of the question.
func (u *Usage) count(ctx context.Context, f waitingFile, chunks []store.Chunk, err error) error {
	if err == nil && len(chunks) == 0 {
		u.Unique.Bytes = add(u.Unique.Bytes, f.node.Size)
	}
	for i := 0; i < len(chunks) && err == nil; i++ {
		var isNew bool
		if isNew, err = u.seen.Add(store.KindFile, chunks[i].Digest); err == nil && isNew {
			u.Unique.Chunks++
			u.Unique.Bytes = add(u.Unique.Bytes, chunks[i].Size)
			err = u.stored(ctx, store.KindFile, chunks[i].Digest, &u.Unique.Stored)
		}
	}
	if err != nil {
		return f.at.wrap(err)
	}
	return nil
}
