package export

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"castar/store"
	"castar/store/listing"
)

// trail is the position of a directory in the tree, as a chain that ends at the root. The root is an entry of nil.
type trail struct {
	up     *trail
	name   string
	digest store.Digest
	depth  int // 1 for the root

	folder *listing.Folder // what the listing has of the directory, or nil
	lines  *listing.Lines  // and of its entries, after list
	facts  *listing.Entry  // and of itself, after list
}

// join returns the path of the entry name of the directory.
func (t *trail) join(name string) string {
	if t == nil || t.up == nil {
		return name
	}
	parts := []string{name}
	for ; t.up != nil; t = t.up {
		parts = append(parts, t.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// wrap adds the path of the entry name to err, unless err has a path or the entry is the root.
func (t *trail) wrap(name string, err error) error {
	if _, named := errors.AsType[*Error](err); named || err == nil || t == nil {
		return err
	}
	return &Error{Path: t.join(name), Err: err}
}

// enter fetches the directory n, an entry of up. It checks what Get promises, because a name with a slash must not reach
// a system call even if a store is wrong.
func (e *exporter) enter(up *trail, n *store.Node) (*trail, store.Directory, error) {
	at := &trail{up: up, name: n.Name, digest: n.Digest, depth: 1, folder: e.o.Listing}
	if up != nil {
		at.depth, at.folder = up.depth+1, up.folder.Folder(n.Name)
	}
	if at.depth > store.MaxDepth {
		return nil, nil, store.ErrTooDeep
	}
	for p := up; p != nil; p = p.up {
		if p.digest == n.Digest {
			return nil, nil, fmt.Errorf("directory %s contains itself", n.Digest)
		}
	}
	dir, err := e.st.Directories.Get(e.ctx, n.Digest)
	if err == nil {
		err = dir.Validate()
	}
	if err != nil {
		return nil, nil, store.About("directory", n.Digest, err)
	}
	// Both size rules give at least the documented size, and a larger size does no harm.
	if size, _ := dir.Size(store.SizeDocumented); n.Size < size {
		return nil, nil, fmt.Errorf("size mismatch: directory %s is recorded with %d and has %d", n.Digest, n.Size, size)
	}
	return at, dir, nil
}

// open opens the blob of the file n and checks its length.
func (e *exporter) open(n *store.Node) (store.Blob, error) {
	blob, err := e.st.Blobs.Open(e.ctx, n.Digest)
	if err != nil {
		return nil, store.About("blob", n.Digest, err)
	}
	if blob.Size() != n.Size {
		blob.Close()
		return nil, sizeMismatch(n, blob.Size())
	}
	return blob, nil
}

// visit calls do for n, an entry of up, and for everything below it, several at once. It reads no blobs. err says that a
// directory cannot be read, or why the store does not have a blob. If do returns nil all the same, the visit goes on.
func (e *exporter) visit(up *trail, n *store.Node, do func(up *trail, n *store.Node, err error) error) error {
	if n.Kind != store.KindDirectory {
		return do(up, n, e.has(n))
	}
	at, nodes, err := e.enter(up, n)
	if err := do(up, n, err); err != nil {
		return err
	}
	return e.each(at, nil, nodes, func(n *store.Node) error { return e.visit(at, n, do) })
}

// has returns an error if n is a file and the store lacks its contents.
func (e *exporter) has(n *store.Node) error {
	if n.Kind != store.KindFile || n.Size == 0 && n.Digest == e.empty {
		return nil
	}
	has, err := e.st.Blobs.Has(e.ctx, n.Digest)
	if err == nil && !has {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.About("blob", n.Digest, err)
	}
	return nil
}
