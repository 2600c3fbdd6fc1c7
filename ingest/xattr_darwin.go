package ingest

import (
	"errors"

	"castar/store/listing"
)

// readXattrs is not supported: darwin takes a path, and a path may lead elsewhere by then.
func readXattrs(int, string) ([]listing.Xattr, error) {
	return nil, errors.New("extended attributes: not supported on this system")
}
