// Package sealed keeps the small files of a packed store, whose lines have checksums of their own (store/record): the
// config, the lines of the log, and the quarantine, which says where damaged objects are.
package sealed

import "castar/store"

// The files of a store, all below its folder; FORMAT.md says what is in them.
const (
	ConfigName = "config"   // what the store is; its presence makes a folder a store
	LockName   = "lock"     // empty; flock: shared for using the store, exclusive for removing from it
	LogName    = "log"      // a line for each ingest
	GivenUp    = "given-up" // lines that were removed from the log, and tags, since the last gc
	TagsDir    = "tags"
)

// TagPath returns the path of a tag in its store.
func TagPath(tagName string) string { return TagsDir + "/" + store.Sum([]byte(tagName)).String() }
