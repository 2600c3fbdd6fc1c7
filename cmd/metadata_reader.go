package cmd

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"castar/store"
	metadata "castar/store/listing"
)

// factsReader finds what a listing says of the entries of a tree, which are asked for depth first. The zero value and nil
// know nothing.
type factsReader struct {
	report func(error)
	stack  []factsOfFolder // the directory that was asked about last, and those above it
}

// factsOfFolder is what a listing says of one directory.
type factsOfFolder struct {
	path   string // with a slash at the end, or "" for the root
	folder *metadata.Folder
	lines  *metadata.Lines
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

func (r *factsReader) push(path string, f *metadata.Folder) {
	lines, ok := f.Lines(nil, r.report)
	if !ok {
		lines = nil
	}
	r.stack = append(r.stack, factsOfFolder{path, f, lines})
}

// find returns what the listing says of the entry n at a path. ok is false if it says nothing, or that it is something
// else.
func (r *factsReader) find(path string, n *store.Node) (e metadata.Entry, ok bool) {
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
func (r *factsReader) enter(folder string) *metadata.Lines {
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

func newJSONFacts(e *metadata.Entry) (j jsonFacts) {
	j = jsonFacts{Mode: fmt.Sprintf("%04o", e.Mode), UID: &e.UID, GID: &e.GID, User: e.User, Group: e.Group, Links: e.Links}
	j.Modified = timeOf(e).UTC().Format(time.RFC3339Nano)
	for _, x := range e.Xattrs {
		j.Xattrs = append(j.Xattrs, x.Name)
	}
	return j
}

func timeOf(e *metadata.Entry) time.Time { return time.Unix(e.Seconds, int64(e.Nanoseconds)) }

// ownerOf returns the user and the group of an entry, by name if they have names.
func ownerOf(e *metadata.Entry) string {
	return quote(cmp.Or(e.User, fmt.Sprint(e.UID))) + ":" + quote(cmp.Or(e.Group, fmt.Sprint(e.GID)))
}
