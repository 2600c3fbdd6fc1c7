package export

import (
	"errors"

	"castar/store"
	"castar/store/listing"
)

type attributes struct{}

func attributesOf(int) attributes         { return attributes{} }
func attributesIn(int, string) attributes { return attributes{} }

// setXattrs reports attributes, which are kept on Linux only.
func (e *exporter) setXattrs(_ attributes, up *trail, n *store.Node, facts *listing.Entry, _ bool) bool {
	if len(facts.Xattrs) > 0 {
		e.complain(up, n.Name, errors.New("attributes: not supported on this system"))
	}
	return false
}
