package objects

import (
	"bytes"
	"context"
	"slices"
	"time"

	"castar/store"
	"castar/store/chunk"
)

// putMembers stores the list of the directories in the closure of root. If ask is set, it first asks whether the list
// exists. A closure of one directory needs no list.
func (ds *directories) putMembers(ctx context.Context, root store.Digest, members []store.Digest, ask bool) error {
	if len(members) < 2 {
		return nil
	}
	name := closureName(root)
	if ask {
		if has, err := ds.q.has(ctx, name); has || err != nil {
			return err
		}
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b store.Digest) int { return bytes.Compare(a[:], b[:]) })
	body := make([]byte, 0, len(members)*store.DigestSize)
	for i := range members {
		body = append(body, members[i][:]...)
	}
	return ds.q.putAfter(ctx, name, body)
}

// parseMembers reads the list of the closure of root. It returns nil if b is visibly not such a list.
func parseMembers(b []byte, root store.Digest) []store.Digest {
	if len(b)%store.DigestSize != 0 {
		return nil
	}
	members := make([]store.Digest, 0, len(b)/store.DigestSize)
	for d := range slices.Chunk(b, store.DigestSize) {
		if last := len(members) - 1; last >= 0 && bytes.Compare(members[last][:], d) >= 0 {
			return nil
		}
		members = append(members, store.Digest(d))
	}
	if !slices.Contains(members, root) {
		return nil
	}
	return members
}

// maxMembers is the length of the longest list that is read, in bytes: 32 million directories.
const maxMembers = 1 << 30

// scan learns what is in closures that are not known yet, unless it did so a moment ago. It skips a closure that cannot be
// read: nobody asked for that one, and a caller that asks for it gets the error.
func (ds *directories) scan(ctx context.Context) error {
	ds.scanning.Lock()
	defer ds.scanning.Unlock()
	if time.Since(ds.scanned) < rescanAfter {
		return nil
	}
	var roots []store.Digest
	for root, err := range ds.q.digests(ctx, dirsPrefix, dirsPrefix) {
		if err != nil {
			return err
		}
		if !ds.listed[root] {
			roots = append(roots, root)
		}
	}
	lists := map[store.Digest]bool{}
	if len(roots) > 0 {
		for root, err := range ds.q.digests(ctx, closuresPrefix, closuresPrefix) {
			if err != nil {
				return err
			}
			lists[root] = true
		}
	}
	fetch := func(ctx context.Context, i int) ([]store.Digest, error) {
		return ds.members(ctx, roots[i], lists[roots[i]])
	}
	i := 0
	for members, err := range chunk.Ahead(ctx, len(roots), ds.ahead, fetch, nil) {
		if err != nil {
			return err
		}
		ds.learn(roots[i], slices.Values(members))
		ds.listed[roots[i]] = true
		i++
	}
	ds.scanned = time.Now()
	return nil
}

// members returns the directories in the closure of root. They come from the list, or else from the closure, and then
// members stores a list. A closure that is missing or damaged has no members.
func (ds *directories) members(ctx context.Context, root store.Digest, list bool) ([]store.Digest, error) {
	if list {
		body, err := ds.q.get(ctx, closureName(root), 0, maxMembers)
		if members := parseMembers(body, root); err == nil && members != nil {
			return members, nil
		}
	}
	var members []store.Digest
	for f, err := range ds.read(ctx, root, new([]store.Digest)) {
		if store.IsCorrupt(err) || store.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		members = append(members, f.Digest)
	}
	if ds.q.writable() == nil {
		return members, ds.putMembers(ctx, root, members, false)
	}
	return members, nil
}
