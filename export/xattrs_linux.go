package export

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

const (
	// capability is the attribute that lets a program do what its user may not. It is given with the owner, like setuid.
	capability = "security.capability"
	// maxXattr is the length of the longest attribute, and of the longest list of them, in bytes.
	maxXattr = 64 << 10
)

// attributes is the extended attributes of an open entry or, if path is not "", of the symlink there. ACLs are among them.
type attributes struct {
	fd   int
	path string
}

func attributesOf(fd int) attributes { return attributes{fd: fd} }

// attributesIn returns the attributes of the symlink name in the directory fd. No system call takes these two.
func attributesIn(fd int, name string) attributes {
	return attributes{path: fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)}
}

func (a attributes) list() ([]string, error) {
	buf := make([]byte, maxXattr)
	n, err := posix.RetryValue(func() (int, error) {
		if a.path != "" {
			return unix.Llistxattr(a.path, buf)
		}
		return unix.Flistxattr(a.fd, buf)
	})
	if err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

// has reports whether the entry has the attribute with that value.
func (a attributes) has(x *listing.Xattr) bool {
	buf := make([]byte, len(x.Value)+1)
	n, err := posix.RetryValue(func() (int, error) {
		if a.path != "" {
			return unix.Lgetxattr(a.path, x.Name, buf)
		}
		return unix.Fgetxattr(a.fd, x.Name, buf)
	})
	return err == nil && bytes.Equal(buf[:n], x.Value)
}

func (a attributes) set(x *listing.Xattr) error {
	return posix.Retry(func() error {
		if a.path != "" {
			return unix.Lsetxattr(a.path, x.Name, x.Value, 0)
		}
		return unix.Fsetxattr(a.fd, x.Name, x.Value, 0)
	})
}

func (a attributes) remove(name string) error {
	return posix.Retry(func() error {
		if a.path != "" {
			return unix.Lremovexattr(a.path, name)
		}
		return unix.Fremovexattr(a.fd, name)
	})
}

// setXattrs gives n, an entry of up, the attributes that facts says. It removes others that users and ACLs have. dry is
// that of applyFacts.
func (e *exporter) setXattrs(a attributes, up *trail, n *store.Node, facts *listing.Entry, dry bool) (changed bool) {
	is, err := a.list()
	switch {
	case err == nil:
	case len(facts.Xattrs) == 0 && errors.Is(err, unix.ENOTSUP):
		return false
	case dry:
		return true
	default:
		e.complain(up, n.Name, fmt.Errorf("attributes: %w", err))
		return false
	}
	for _, name := range is {
		extra := strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
		if !extra || slices.ContainsFunc(facts.Xattrs, func(x listing.Xattr) bool { return x.Name == name }) {
			continue
		}
		changed = e.setXattr(up, n, name, dry, func() error { return a.remove(name) }) || changed
	}
	for i := range facts.Xattrs {
		x := &facts.Xattrs[i]
		if x.Name == capability && !e.o.Owner || slices.Contains(is, x.Name) && a.has(x) {
			continue
		}
		changed = e.setXattr(up, n, x.Name, dry, func() error { return a.set(x) }) || changed
	}
	return changed
}

// setXattr changes one attribute.
func (e *exporter) setXattr(up *trail, n *store.Node, name string, dry bool, change func() error) bool {
	if dry {
		return true
	}
	err := change()
	if err != nil {
		e.complain(up, n.Name, fmt.Errorf("attribute %s: %w", store.Quote(name), err))
	}
	return err == nil
}
