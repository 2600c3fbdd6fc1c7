package objects

import (
	"context"
	"iter"
	"strings"

	"castar/store"
)

// lister implements store.Lister.
type lister struct{ st *bucketStore }

// List yields the digests of objects below the four prefixes, and of directories in known closures.
func (l lister) List(ctx context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	nibbles = min(max(nibbles, 0), 2*store.DigestSize)
	return func(yield func(store.Digest, error) bool) {
		for _, kind := range []string{blobsPrefix, chunksPrefix, dirsPrefix, ownDirsPrefix} {
			for d, err := range l.st.q.digests(ctx, kind, shardedPrefix(kind, prefix, nibbles)) {
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
		if err := l.st.directories.scan(ctx); err != nil {
			yield(store.Digest{}, err)
			return
		}
		ds := l.st.directories
		ds.mu.RLock()
		var found []store.Digest // the loop may store more directories
		for d := range ds.home {
			if strings.HasPrefix(d.String(), prefix.String()[:nibbles]) {
				found = append(found, d)
			}
		}
		ds.mu.RUnlock()
		for _, d := range found {
			if !yield(d, nil) {
				return
			}
		}
	}
}
