package export

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// preflight looks for what would stop an overwriting export half-way, and changes nothing. It lists the directories that
// are both in the destination and in the tree, and those that Delete removes. It does not look at files that stay, so it
// costs little beside the comparison that follows.
type preflight struct {
	*exporter
	removes atomic.Bool // Delete has something to remove

	mu    sync.Mutex
	found []*Error
}

// preflight returns an error with every reason not to merge the directory at, which has the entries nodes, into d.
func (e *exporter) preflight(d *dir, at *trail, nodes store.Directory) error {
	p := &preflight{exporter: e}
	err := p.merge(d, at, nodes)
	if err == nil && len(p.found) == 0 && p.removes.Load() {
		report := func(up *trail, n *store.Node, err error) error { return p.report(up, n.Name, err) }
		err = p.each(at, nil, nodes, func(n *store.Node) error { return p.visit(at, n, report) })
	}
	if err != nil {
		return err
	}
	slices.SortFunc(p.found, func(a, b *Error) int { return cmp.Compare(a.Path, b.Path) })
	var all []error
	for _, err := range p.found {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// report records what is wrong with the entry name of the directory up, and returns nil so that the search goes on. It
// returns the error if the context has ended, or if the error is about the destination itself.
func (p *preflight) report(up *trail, name string, err error) error {
	if err == nil || p.ctx.Err() != nil || up == nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = append(p.found, &Error{Path: up.join(name), Err: err})
	return nil
}

// merge checks what merge of the exporter will do.
func (p *preflight) merge(d *dir, at *trail, nodes store.Directory) error {
	entries, err := d.entries()
	if err == nil {
		err = p.checkStore(d, namesOf(entries))
	}
	if err != nil {
		return p.report(at.up, at.name, err)
	}
	var both store.Directory // directories in d and in the tree
	missing, removes := len(nodes), false
	for _, entry := range entries {
		n, ok := nodes.Find(entry.name)
		blocked := ok && entry.isDir != (n.Kind == store.KindDirectory)
		switch {
		case ok && !blocked:
			missing--
			if entry.isDir {
				both = append(both, n)
			}
		case blocked && !p.o.Delete:
			err = p.report(at, entry.name, inTheWay(n.Kind))
		case p.o.Delete:
			removes = true
			err = p.remove(d, at, entry, blocked)
		}
		if err != nil {
			return err
		}
	}
	if removes {
		p.removes.Store(true)
	}
	if missing > 0 || removes {
		if err := p.report(at.up, at.name, d.mayChange()); err != nil {
			return err
		}
	}
	return p.each(at, d, both, func(n *store.Node) error { return p.mergeDirectory(d, at, n) })
}

func (p *preflight) mergeDirectory(d *dir, up *trail, n *store.Node) error {
	at, nodes, err := p.enter(up, n)
	if err != nil {
		return err
	}
	child, err := d.open(n.Name)
	if err != nil {
		return p.report(up, n.Name, err)
	}
	return d.within(child, func() error { return p.merge(child, at, nodes) })
}

// remove checks the removal of an entry of d, the directory up. Unless whole is set, a directory of the store in it may
// stay.
func (p *preflight) remove(d *dir, up *trail, entry entry, whole bool) error {
	name := entry.name
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if err := p.mayUnlink(d, entry); err != nil || !entry.isDir {
		return p.report(up, name, err)
	}
	child, err := d.open(name)
	if err != nil {
		return p.report(up, name, err)
	}
	return d.within(child, func() error { return p.removeAll(d, child, &trail{up: up, name: name}, whole) })
}

// removeAll checks the removal of all entries of child, which is in d and stands at at.
func (p *preflight) removeAll(d, child *dir, at *trail, whole bool) error {
	entries, err := child.entries()
	if err == nil {
		err = p.checkStore(child, namesOf(entries))
	}
	if err == errStore && !whole {
		return nil // it stays
	}
	if err == nil && len(entries) > 0 {
		err = child.mayChange()
	}
	if err != nil {
		return p.report(at.up, at.name, err)
	}
	for _, entry := range entries {
		if err := p.remove(child, at, entry, whole); err != nil {
			return err
		}
	}
	return nil
}

// mayUnlink returns nil if an entry of d, without regard to its contents, can be removed, and otherwise the reason: it is
// a mount point, or it belongs to another user in a directory where only owners may remove their entries.
func (p *preflight) mayUnlink(d *dir, entry entry) error {
	is, exists, err := d.lstat(entry.name)
	if err != nil || !exists {
		return err
	}
	st, err := d.stat()
	switch {
	case err != nil:
		return err
	case posix.IsMountRoot(d.fd, entry.name) || entry.isDir && is.Dev != st.Dev: // an overlay's files have other devices
		return errMount
	case st.Mode&unix.S_ISVTX != 0 && !owns(&st) && !owns(&is) && unix.Geteuid() != 0:
		return unix.EPERM
	}
	return nil
}

func namesOf(entries []entry) []string {
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.name
	}
	return names
}
