package packed

import "castar/store"

// The files of a store, all below its folder; FORMAT.md says what is in them.
const (
	configName = "config" // what the store is; its presence makes a folder a store
	lockName   = "lock"   // empty; flock: shared for using the store, exclusive for removing from it
	logName    = "log"    // a line for each ingest
	tagsDir    = "tags"
)

func tagPath(tagName string) string { return tagsDir + "/" + store.Sum([]byte(tagName)).String() }
