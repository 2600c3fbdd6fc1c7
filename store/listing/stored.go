package listing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"castar/store"
	"castar/store/posix"
)

// mostMemory is the longest listing that is held in memory. A longer one waits in a file.
const mostMemory = 64 << 20

// Stored is what the listing in a blob has of an entry and of what is in it. A nil *Stored knows nothing.
type Stored struct {
	*Folder       // nil if the listing does not have the entry
	Bytes   int64 // of memory, roughly

	file   *os.File // without a name; nil if the listing is in memory
	report func(error)
	stack  []place // the directory that Find was asked about last, and those above it
}

// place is a directory of a listing on the way of Find.
type place struct {
	path   string // with a slash at the end, or "" for the root
	folder *Folder
	lines  *Lines // or nil
}

// Read reads all of the listing in the blob d, checks it, and returns what it has of the entry at path: see Folder.At. report
// is told what makes no sense in it, now and in calls of Find. The result must be closed, unless its use as a Folder has
// no end: a file that nothing uses any more closes itself.
func Read(ctx context.Context, blobs store.Blobs, d store.Digest, path string, report func(error)) (*Stored, error) {
	s := &Stored{report: report}
	if err := s.read(ctx, blobs, d, path); err != nil {
		s.Close()
		return nil, fmt.Errorf("listing %s: %w", d, err)
	}
	return s, nil
}

func (s *Stored) read(ctx context.Context, blobs store.Blobs, d store.Digest, path string) error {
	b, err := blobs.Open(ctx, d)
	if err != nil {
		return err
	}
	defer b.Close()
	text, err := s.copy(b)
	if err != nil {
		return err
	}
	root, err := Open(text, int64(b.Size()), s.report)
	s.Folder = root.At(path)
	return err
}

// copy reads all of b.
func (s *Stored) copy(b store.Blob) (io.ReaderAt, error) {
	if b.Size() <= mostMemory {
		s.Bytes = int64(b.Size())
		text := bytes.NewBuffer(make([]byte, 0, b.Size()))
		_, err := b.WriteTo(text)
		return bytes.NewReader(text.Bytes()), err
	}
	var err error
	if s.file, err = posix.Nameless(""); err != nil {
		return nil, err
	}
	_, err = b.WriteTo(s.file)
	return s.file, err
}

// Close releases the listing.
func (s *Stored) Close() {
	if s != nil && s.file != nil {
		s.file.Close()
	}
}

// Find returns what the listing says of the entry n at a path. ok is false if it says nothing, or that it is something
// else. Paths are best asked for depth first. Find is not for concurrent use.
func (s *Stored) Find(path string, n *store.Node) (e Entry, ok bool) {
	if s == nil {
		return e, false
	}
	folder, name := path, ""
	if path != "" && n.Kind != store.KindDirectory {
		i := strings.LastIndexByte(path, '/') + 1
		folder, name = path[:i], path[i:]
	} else if path != "" {
		folder += "/"
	}
	at := s.enter(folder)
	switch {
	case at == nil:
	case name == "":
		e, ok = at.Self, true
	default:
		var err error
		if e, ok, err = at.Find(name); err != nil {
			s.report(err)
		}
	}
	return e, ok && e.Contradicts(n) == nil
}

// enter returns the lines of a directory, whose path ends with a slash, or nil.
func (s *Stored) enter(folder string) *Lines {
	if s.stack == nil {
		s.push("", s.Folder)
	}
	for !strings.HasPrefix(folder, s.stack[len(s.stack)-1].path) {
		s.stack = s.stack[:len(s.stack)-1]
	}
	top := s.stack[len(s.stack)-1]
	for top.path != folder {
		name, _, _ := strings.Cut(folder[len(top.path):], "/")
		s.push(top.path+name+"/", top.folder.Folder(name))
		top = s.stack[len(s.stack)-1]
	}
	return top.lines
}

func (s *Stored) push(path string, f *Folder) {
	lines, ok := f.Lines(nil, s.report)
	if !ok {
		lines = nil
	}
	s.stack = append(s.stack, place{path, f, lines})
}
