//go:build linux

package mount

import "castar/store"

// manyListed is how often directories are listed before a server is asked for the whole tree of one.
const manyListed = 4

// listAhead is called when a directory is listed, before its entries are. The same program will probably list those in
// it and those after it. So listAhead fetches them in the background if the store is remote. From a server it fetches
// everything below the directory, and, once several directories were listed, the whole tree. In a local store, waking
// another thread costs more than reading a directory.
func (fs *fsys) listAhead(p *place, l *directory) {
	if !fs.st.Far {
		return
	}
	if fs.st.RemoteDirectories != nil {
		switch {
		case p.number == p.top.number: // to look at the root is not to look for all
		case fs.lists.Add(1)%manyListed == 0:
			fs.st.Expect(fs.ctx, p.top.node)
		default:
			fs.st.Expect(fs.ctx, p.node)
		}
		return
	}
	fs.listEach(l.entries)
	if p.number == p.top.number {
		return
	}
	if up, ok := fs.places.peek(p.up); ok {
		if l, ok := fs.directories.peek(contents{up.node.Digest, up.node.Size}); ok {
			fs.listEach(l.entries[l.owner(p.number-up.number)+1:])
		}
	}
}

// filesAhead is called when a small file of a remote store is read. If the one before was read just before, those after it
// are read in the background.
func (fs *fsys) filesAhead(p *place) {
	const near = 32 // numbers
	last := fs.lastFile.Swap(p.number)
	if last == 0 || p.number <= last || p.number-last > near {
		return
	}
	up, _ := fs.places.peek(p.up)
	l, ok := fs.directories.peek(contents{up.node.Digest, up.node.Size})
	if !ok {
		return
	}
	next := l.entries[l.owner(p.number-up.number)+1:]
	for i := range next[:min(mostAhead, len(next))] {
		c := store.Chunk{Digest: next[i].Digest, Size: next[i].Size}
		if next[i].Kind == store.KindFile && c.Size <= smallFile && !fs.pieceAhead(c) {
			return
		}
	}
}

// listEach begins to read the first of the directories among nodes.
func (fs *fsys) listEach(nodes store.Directory) {
	left := mostAhead
	for i := range nodes {
		n := &nodes[i]
		if n.Kind != store.KindDirectory {
			continue
		}
		if left--; left < 0 {
			return
		}
		if !fs.directories.knows(contents{n.Digest, n.Size}) && !fs.background(func() { _, _ = fs.list(fs.ctx, *n) }) {
			return
		}
	}
}
