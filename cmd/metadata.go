package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"castar/store"
	"castar/store/listing"
	"castar/store/posix"
	"castar/store/tree"
)

// listingMemory is the longest listing that is held in memory. A longer one waits in a file.
const listingMemory = 64 << 20

// facts is what a store keeps of modes, owners and times, for the entry that a reference means.
type facts struct {
	*listing.Folder
	file  *os.File // without a name; nil if the listing is in memory
	bytes int64    // of memory
}

// close releases the listing. f may be nil.
func (f *facts) close() {
	if f != nil && f.file != nil {
		f.file.Close()
	}
}

// openFacts opens the listing of the tag or the line of the log that led to r. The result is nil if there is none. report is
// told what makes no sense in it. It must be closed.
func openFacts(ctx context.Context, st *store.Store, r tree.Ref, report func(error)) (f *facts, err error) {
	if r.Listing == (store.Digest{}) {
		return nil, nil
	}
	f = &facts{}
	defer func() {
		if err != nil {
			f.close()
			f, err = nil, fmt.Errorf("listing %s: %w", r.Listing, err)
		}
	}()
	b, err := st.Blobs.Open(ctx, r.Listing)
	if err != nil {
		return f, err
	}
	defer b.Close()
	text, err := f.read(b)
	if err != nil {
		return f, err
	}
	root, err := listing.Open(text, int64(b.Size()), report)
	f.Folder = root.At(r.Path)
	return f, err
}

// read reads all of b, and checks it.
func (f *facts) read(b store.Blob) (io.ReaderAt, error) {
	if b.Size() <= listingMemory {
		f.bytes = int64(b.Size())
		text := bytes.NewBuffer(make([]byte, 0, b.Size()))
		_, err := b.WriteTo(text)
		return bytes.NewReader(text.Bytes()), err
	}
	file, err := posix.Nameless("")
	if err != nil {
		return nil, err
	}
	f.file = file
	_, err = b.WriteTo(file)
	return file, err
}

// maxComplaints is how many things that could not be restored are named.
const maxComplaints = 10

// complaints names what could not be restored.
type complaints struct {
	e      *env
	number uint64
	failed error // of the server, if that was the reason of one
}

func (c *complaints) add(text string) {
	if c.number++; c.number <= maxComplaints {
		c.e.warn(text)
	}
}

// listing is add for what makes no sense in a listing.
func (c *complaints) listing(err error) {
	if store.IsServerError(err) {
		c.failed = err
		return
	}
	c.add(err.Error())
}

// entry is add for an entry.
func (c *complaints) entry(path string, err error) {
	if path == "" {
		path = "."
	}
	c.add(quote(store.ShortPath(path)) + ": " + err.Error())
}

// end returns errPartial if there were complaints, or the error of the server.
func (c *complaints) end() error {
	if c.number > maxComplaints {
		c.e.warn(fmt.Sprintf("and %d more", c.number-maxComplaints))
	}
	if c.number > 0 && c.failed == nil {
		return errPartial
	}
	return c.failed
}

// restore makes the options of f restore what the store keeps beside r. The result must be closed.
func (e *env) restore(ctx context.Context, f *exportFlags, st *store.Store, r tree.Ref, c *complaints) (*facts, error) {
	if f.metadata == "none" {
		return nil, nil
	}
	facts, err := openFacts(ctx, st, r, c.listing)
	switch {
	case err != nil && ctx.Err() == nil:
		return nil, hinted(err, "--metadata=none exports with the modes that the flags say")
	case err != nil:
		return nil, err
	case facts == nil && (f.owner || f.xattrs):
		c.listing(errors.New("no owners and attributes: the store keeps none for this root"))
		return nil, nil
	case facts == nil:
		return nil, nil
	case facts.Folder == nil:
		c.entry("", errors.New("the listing does not have it"))
		return facts, nil
	}
	o := &f.options
	o.Listing, o.Owner, o.Xattrs, o.Complain = facts.Folder, f.owner, f.xattrs, c.entry
	if f.now {
		o.MTime = time.Now()
	}
	return facts, nil
}

// factsReader finds what a listing says of the entries of a tree, which are asked for depth first. The zero value and nil
// know nothing.
type factsReader struct {
	report func(error)
	stack  []factsOfFolder // the directory that was asked about last, and those above it
}

// factsOfFolder is what a listing says of one directory.
type factsOfFolder struct {
	path   string // with a slash at the end, or "" for the root
	folder *listing.Folder
	lines  *listing.Lines
}

// newFactsReader returns a reader of f, which may be nil.
func newFactsReader(f *facts, report func(error)) *factsReader {
	if f == nil {
		return nil
	}
	r := &factsReader{report: report}
	r.push("", f.Folder)
	return r
}

func (r *factsReader) push(path string, f *listing.Folder) {
	lines, ok := f.Lines(nil, r.report)
	if !ok {
		lines = nil
	}
	r.stack = append(r.stack, factsOfFolder{path, f, lines})
}

// find returns what the listing says of the entry n at a path. ok is false if it says nothing, or that it is something
// else.
func (r *factsReader) find(path string, n *store.Node) (e listing.Entry, ok bool) {
	if r == nil {
		return e, false
	}
	folder, name := path, ""
	if path != "" && n.Kind != store.KindDirectory {
		i := strings.LastIndexByte(path, '/') + 1
		folder, name = path[:i], path[i:]
	} else if path != "" {
		folder += "/"
	}
	at := r.enter(folder)
	switch {
	case at == nil:
	case name == "":
		e, ok = at.Self, true
	default:
		var err error
		if e, ok, err = at.Find(name); err != nil {
			r.report(err)
		}
	}
	return e, ok && e.Contradicts(n) == nil
}

// enter returns the lines of a directory, whose path ends with a slash, or nil.
func (r *factsReader) enter(folder string) *listing.Lines {
	for !strings.HasPrefix(folder, r.stack[len(r.stack)-1].path) {
		r.stack = r.stack[:len(r.stack)-1]
	}
	top := r.stack[len(r.stack)-1]
	for top.path != folder {
		name, _, _ := strings.Cut(folder[len(top.path):], "/")
		r.push(top.path+name+"/", top.folder.Folder(name))
		top = r.stack[len(r.stack)-1]
	}
	return top.lines
}

// jsonFacts is what a listing says of an entry, as JSON.
type jsonFacts struct {
	Mode     string   `json:"mode,omitempty" help:"permission bits in octal, if the store keeps a listing of the root"`
	UID      *uint32  `json:"uid,omitempty" help:"owner; so are gid, user and group"`
	GID      *uint32  `json:"gid,omitempty"`
	User     string   `json:"user,omitempty"`
	Group    string   `json:"group,omitempty"`
	Modified string   `json:"modified,omitempty" help:"the modification time"`
	Links    uint64   `json:"links,omitempty" help:"how many names the file had, if more than one"`
	Xattrs   []string `json:"xattrs,omitempty" help:"names of extended attributes"`
}

func newJSONFacts(e *listing.Entry) (j jsonFacts) {
	j = jsonFacts{Mode: fmt.Sprintf("%04o", e.Mode), UID: &e.UID, GID: &e.GID, User: e.User, Group: e.Group, Links: e.Links}
	j.Modified = timeOf(e).UTC().Format(time.RFC3339Nano)
	for _, x := range e.Xattrs {
		j.Xattrs = append(j.Xattrs, x.Name)
	}
	return j
}

func timeOf(e *listing.Entry) time.Time { return time.Unix(e.Seconds, int64(e.Nanoseconds)) }

// ownerOf returns the user and the group of an entry, by name if they have names.
func ownerOf(e *listing.Entry) string {
	return quote(cmp.Or(e.User, fmt.Sprint(e.UID))) + ":" + quote(cmp.Or(e.Group, fmt.Sprint(e.GID)))
}
