package ingest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"castar/store"
)

// Tar stores the tree in a tar archive, and returns its root, which is that of the extracted tree. It reads ustar, PAX,
// GNU and older archives, plain or compressed as package decompress has it, once and in one pass. It uses these fields
// of o: Jobs, SizeRule, SkipSpecial, IgnoreErrors and Progress. It does not set Progress.TotalBytes.
//
// Of several members with the same name, the last counts; directories with the same name are merged. A directory need not
// be in the archive. A hard link is the file, or symlink, that its target is at that point. Members that cannot be
// stored are treated as FS treats entries: those whose names lead out of the tree, or are below a file or symlink; hard
// links that lead nowhere; devices and fifos. The path of a Problem is the name in the archive.
//
// An archive that is cut short, has no end marker, or is followed by anything but zeros is an error, and there is no root.
func Tar(ctx context.Context, st *store.Store, r io.Reader, o Options) (Result, error) {
	return load(ctx, st, r, o, func(l *loader, plain io.Reader) error {
		in := &blocks{r: plain}
		return (&tarReader{loader: l, in: in, tar: tar.NewReader(in)}).members()
	})
}

// blocks counts what is read of a tar archive, and remembers where the last byte was that is not zero.
type blocks struct {
	r       io.Reader
	at      int64
	nonzero int64 // the position after that byte
}

func (b *blocks) Read(p []byte) (n int, err error) {
	n, err = b.r.Read(p)
	if k := lengthWithoutZeros(p[:n]); k > 0 {
		b.nonzero = b.at + int64(k)
	}
	b.at += int64(n)
	return n, err
}

// lengthWithoutZeros returns the length of p without the zeros at its end.
func lengthWithoutZeros(p []byte) int {
	var zeros [4 << 10]byte
	for len(p) >= len(zeros) && bytes.Equal(p[len(p)-len(zeros):], zeros[:]) {
		p = p[:len(p)-len(zeros)]
	}
	return len(bytes.TrimRight(p, "\x00"))
}

// tarReader reads one archive.
type tarReader struct {
	*loader
	tar  *tar.Reader
	in   *blocks
	last string // the name of the last member
}

const tarBlock = 512

// members reads all members, and checks how the archive ends.
func (t *tarReader) members() error {
	for {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		began := (t.in.at + tarBlock - 1) / tarBlock * tarBlock // of the next header
		h, err := t.tar.Next()
		if err == io.EOF {
			return t.atEnd(began)
		}
		if err != nil {
			return t.broken(err)
		}
		if t.last = h.Name; h.Typeflag == tar.TypeXGlobalHeader {
			t.last = "a global header"
		}
		if err := t.member(h); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, &input{ctx: t.ctx, r: t.tar}); err != nil { // so that it is known where the next header begins
			return t.broken(err)
		}
	}
}

// broken returns the error for an archive that cannot be read on, and says where that is.
func (t *tarReader) broken(err error) error {
	where := "at its beginning"
	if t.last != "" {
		where = "after " + store.Quote(store.ShortPath(t.last))
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the archive is cut short %s", where)
	case errors.Is(err, tar.ErrHeader) && t.last == "":
		return errors.New("not a tar archive, or damaged at its beginning")
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("invalid tar header %s", where)
	}
	if t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	return fmt.Errorf("%s: %s", where, strings.TrimPrefix(err.Error(), "archive/tar: "))
}

// atEnd checks that the archive has an end marker, and that only zeros follow. began is where the marker begins. It reads
// the input to its end, so that a checksum there is checked, and whoever writes the input can finish.
func (t *tarReader) atEnd(began int64) error {
	switch marker := t.in.at - began; {
	case t.in.at == 0:
		return errors.New("the archive is empty: it has not even an end marker")
	case marker != tarBlock && marker != 2*tarBlock || t.in.nonzero > began:
		return t.broken(io.ErrUnexpectedEOF)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := t.in.Read(buf)
		if lengthWithoutZeros(buf[:n]) > 0 {
			return errors.New("data after the end of the archive: if several archives were joined, store each by itself")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return t.broken(err)
		}
	}
}

// maxFile is more than any store can hold of one file: chunks of 512 KiB, as many as a list may have.
const maxFile = 4 << 40

func (t *tarReader) member(h *tar.Header) error {
	m := member{name: h.Name}
	m.path, m.err = cleanMember(h.Name)
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return checkGlobal(h)
	case 'V': // the label of a volume
		return nil
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return t.regular(h, m)
	case tar.TypeDir, 'D': // D: with a list of names, in an incremental archive of GNU tar
		m.apply = applyDirectory
	case tar.TypeSymlink:
		m.apply, m.node = applyEntry, store.Node{Kind: store.KindSymlink, Target: h.Linkname}
		if err := store.ValidateTarget(h.Linkname); err != nil && m.err == nil {
			m.err = refusal(err.Error())
		}
		t.o.Progress.Symlinks.Add(1)
	case tar.TypeLink:
		m.apply = applyLink
		var err error
		if m.link, err = cleanMember(h.Linkname); err != nil && m.err == nil {
			m.err = refusal(fmt.Sprintf("is a hard link to %s: %v", store.Quote(store.ShortPath(h.Linkname)), err))
		}
	case tar.TypeFifo:
		m.apply = applySpecial("a pipe")
	case tar.TypeChar:
		m.apply = applySpecial("a character device")
	case tar.TypeBlock:
		m.apply = applySpecial("a block device")
	default:
		m.err = refusal(fmt.Sprintf("is of type %q, which is not known", h.Typeflag))
	}
	if m.err == nil && m.path == "" && h.Typeflag != tar.TypeDir && h.Typeflag != 'D' {
		m.err = refusal("names the whole tree, but is not a directory")
	}
	return t.add(m)
}

// regular takes a file. As in old archives, one whose name ends in a slash is a directory.
func (t *tarReader) regular(h *tar.Header, m member) error {
	m.apply = applyEntry
	m.node.Executable = h.Mode&0o100 != 0
	switch isDir := strings.HasSuffix(h.Name, "/"); {
	case h.Size > maxFile: // not worth reading on, though all of it may be a hole
		return fmt.Errorf("%s: %d bytes: more than a file can have", store.Quote(store.ShortPath(h.Name)), h.Size)
	case m.err != nil:
		return t.add(m)
	case isDir && h.Size == 0:
		m.apply = applyDirectory
		return t.add(m)
	case isDir || m.path == "":
		m.err = refusal("is a file with the name of a directory")
		return t.add(m)
	case isUnknownSparse(h):
		m.err = refusal("is a sparse file in a form that is not known")
		return t.add(m)
	}
	rerr, err := t.file(m, uint64(h.Size), t.tar)
	if rerr != nil {
		return t.broken(rerr)
	}
	return err
}

// isUnknownSparse reports whether a member has a sparse map that package tar does not know. It would take the map for a
// part of the contents.
func isUnknownSparse(h *tar.Header) bool {
	version := h.PAXRecords["GNU.sparse.major"] + "." + h.PAXRecords["GNU.sparse.minor"]
	return version != "." && version != "0.0" && version != "0.1" && version != "1.0"
}

// checkGlobal refuses a global header that says anything that matters of the members after it. Package tar does not heed
// it. Mostly it holds a comment, such as the commit that git archive writes.
func checkGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		if key == "path" || key == "linkpath" || key == "size" || strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("a global header sets %s for all members, which is not supported", key)
		}
	}
	return nil
}

// cleanMember returns the path in the tree that a name in an archive means. The root is "".
func cleanMember(name string) (string, error) {
	switch {
	case name == "":
		return "", refusal("is an empty name")
	case name[0] == '/':
		return "", refusal("is an absolute name, and leads out of the tree")
	case len(name) > maxMemberName:
		return "", refusal(fmt.Sprintf("is a name of %d bytes, which is too long", len(name)))
	}
	clean := true
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "..":
			return "", refusal("leads out of the tree with ..")
		case "", ".":
			clean = false
			continue
		}
		if err := store.ValidateName(part); err != nil {
			return "", refusal(err.Error())
		}
	}
	if clean {
		return name, nil
	}
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, part := range parts {
		if part != "" && part != "." {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "/"), nil
}

// maxMemberName is longer than any path that a system takes, of as many directories as a tree may have.
const maxMemberName = 1 << 20

func applyDirectory(l *loader, m *member) error {
	if m.path == "" {
		return nil
	}
	b, name, err := l.parent(m)
	if err != nil {
		return err
	}
	n, ok, err := l.tree.entry(b, name)
	if err != nil {
		return err
	}
	if !ok || n.Kind != store.KindDirectory {
		l.tree.remove(b, name)
	}
	_, err = l.tree.enter(b, name)
	return err
}

// applyEntry makes a file or symlink, in place of what is there.
func applyEntry(l *loader, m *member) error {
	b, name, err := l.parent(m)
	if err != nil {
		return err
	}
	return l.tree.set(b, name, m.node)
}

// applyLink gives the entry that m leads to another name.
func applyLink(l *loader, m *member) (err error) {
	m.node, err = l.tree.find(m.link)
	if err == nil {
		err = applyEntry(l, m)
	}
	return err
}

// applySpecial returns a function that notes that an entry cannot be stored, and what it is.
func applySpecial(what specialError) func(*loader, *member) error {
	return func(l *loader, m *member) error {
		b, name, err := l.parent(m)
		if err == nil {
			err = l.tree.setSpecial(b, name, Problem{Path: m.name, Err: what, Special: true})
		}
		return err
	}
}

// parent returns the directory that m is in, and the name there.
func (l *loader) parent(m *member) (*branch, string, error) {
	slash := strings.LastIndexByte(m.path, '/')
	b, err := l.tree.directory(m.path[:max(slash, 0)])
	return b, m.path[slash+1:], err
}
