package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"castar/store"
	"castar/store/listing"
	"castar/store/tree"
)

// openFacts opens the listing of the tag or the line of the log that led to r. The result is nil if there is none. report is
// told what makes no sense in it. It must be closed.
func openFacts(ctx context.Context, st *store.Store, r tree.Ref, report func(error)) (*listing.Stored, error) {
	if r.Listing == (store.Digest{}) {
		return nil, nil
	}
	return listing.Read(ctx, st.Blobs, r.Listing, r.Path, report)
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
func (e *env) restore(ctx context.Context, f *exportFlags, st *store.Store, r tree.Ref, c *complaints) (*listing.Stored, error) {
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
