package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"castar/store"
	"castar/store/history"
)

// History returns the recorded ingests whose roots are kept, oldest first. unread has an error for each run of lines
// that cannot be read.
//
// Castar before version and host were recorded kept only what tags reach: a line without a version whose root the store
// lacks is of an ingest that its gc has removed, and is left out. Any other root that is missing is a loss, and its line
// stays.
func History(ctx context.Context, st *store.Store) (ingests []store.Tag, unread []error) {
	ingests, _, unread = readLog(ctx, st)
	return ingests, unread
}

// Gone returns the recorded ingests that History leaves out, oldest first.
func Gone(ctx context.Context, st *store.Store) (ingests []store.Tag) {
	_, ingests, _ = readLog(ctx, st)
	return ingests
}

// readLog returns the recorded ingests, apart those whose roots were removed as garbage. Only stores with sets of their own
// remove garbage.
func readLog(ctx context.Context, st *store.Store) (kept, gone []store.Tag, unread []error) {
	if st.Tags == nil {
		return nil, nil, nil
	}
	present := sync.OnceValue(st.NewSet) // knows what the store has, and reads nothing
	for t, err := range st.Tags.Log(ctx) {
		isGone := false
		if err == nil && st.NewSet != nil && t.Version == "" && t.Root.Kind != store.KindSymlink {
			_, missing := present().Add(t.Root.Kind, t.Root.Digest)
			isGone = store.IsNotFound(missing)
		}
		switch {
		case err != nil:
			unread = append(unread, err)
		case isGone:
			gone = append(gone, t)
		default:
			kept = append(kept, t)
		}
	}
	return kept, gone, unread
}

// Kept is what tags and log keep of a store.
type Kept struct {
	Tags    []store.Tag // that can be read
	Ingests []store.Tag // as History returns them

	TagErrors, LogErrors []error // what cannot be read
}

// ReadKept reads the tags and the log of st.
func ReadKept(ctx context.Context, st *store.Store) (k Kept) {
	if has, err := st.HasTags(ctx); !has {
		if err != nil {
			k.TagErrors = []error{err}
		}
		return k
	}
	for t, err := range st.Tags.All(ctx) {
		if err != nil {
			k.TagErrors = append(k.TagErrors, err)
		} else {
			k.Tags = append(k.Tags, t)
		}
	}
	k.Ingests, k.LogErrors = History(ctx, st)
	return k
}

// Roots returns all that k keeps of st: the roots of all tags, by the names of these; other roots once each, the newest
// first, by the beginnings of their digests; and in the end the listings, once each.
func (k Kept) Roots(ctx context.Context, st *store.Store) (all []Root, listings uint64) {
	newest := slices.Clone(k.Ingests)
	slices.Reverse(newest)
	known := make(map[store.Node]bool)
	names := make([]string, 0, len(k.Tags)+len(newest))
	for _, t := range k.Tags {
		all, names = append(all, Root{t.Name, t.Root}), append(names, t.Name)
		known[t.Root] = true
	}
	for _, t := range newest {
		names = append(names, ShortName(t))
		if !known[t.Root] {
			all = append(all, Root{ShortName(t), t.Root})
		}
		known[t.Root] = true
	}
	listed := make(map[store.Digest]bool)
	records := append(slices.Clone(k.Tags), newest...)
	expectListings(ctx, st, records)
	for i, t := range records {
		if listed[t.Listing] {
			continue
		}
		if r, ok := ListingOf(ctx, st, t, names[i]); ok {
			listed[t.Listing] = true
			all = append(all, r)
			listings++
		}
	}
	return all, listings
}

// expectListings tells a remote store that the listings of records will be asked for.
func expectListings(ctx context.Context, st *store.Store, records []store.Tag) {
	if st.RemoteBlobs == nil {
		return
	}
	st.RemoteBlobs.Expect(ctx, func(yield func(store.Digest) bool) {
		for _, t := range records {
			if t.Listing != (store.Digest{}) && !yield(t.Listing) {
				return
			}
		}
	})
}

// ListingOf returns the blob with the listing of t, if there is one, as a root of st: a file, named after name. The size is
// 0 if st cannot tell it.
func ListingOf(ctx context.Context, st *store.Store, t store.Tag, name string) (r Root, ok bool) {
	if t.Listing == (store.Digest{}) {
		return r, false
	}
	size := uint64(0)
	if st.Scrubber != nil {
		size, _ = st.Scrubber.BlobSize(ctx, t.Listing) // whoever uses the root finds out what is wrong
	} else if b, err := st.Blobs.Open(ctx, t.Listing); err == nil {
		size = b.Size()
		b.Close()
	}
	return Root{name + " (listing)", store.Node{Kind: store.KindFile, Digest: t.Listing, Size: size}}, true
}

// shortDigits is how many digits of a digest name an ingest.
const shortDigits = 16

// ShortName returns the beginning of the digest of a root, which is a name for it where only one root begins like that.
func ShortName(t store.Tag) string {
	d, err := t.Root.RootDigest()
	if err != nil {
		return "invalid root"
	}
	return d.String()[:shortDigits]
}

// findIngest returns the root that a name such as home~1 means among ingests. unread says why others could not be read.
func findIngest(name string, n history.Name, ingests []store.Tag, unread []error) (Ref, error) {
	t, err := n.Find(ingests)
	if err != nil {
		return Ref{}, fmt.Errorf("%s: %w", name, errors.Join(append([]error{err}, unread...)...))
	}
	r, err := refTo(t, "")
	r.Ingest = t
	return r, err
}

// refTo returns the reference to the root of a tag or a recorded ingest.
func refTo(t store.Tag, tag string) (Ref, error) {
	d, err := t.Root.RootDigest()
	return Ref{Root: t.Root, RootDigest: d, Tag: tag, Listing: t.Listing}, err
}
