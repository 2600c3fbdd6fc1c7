package cmd

import (
	"errors"
	"path/filepath"

	"castar/store/config"
)

// making returns o, so that a store that is made is mentioned, and found again only on the file system where it was, what
// buckets hold is kept in the cache, and traffic is counted and limited.
func (e *env) making(o config.Options) config.Options {
	o.OnMade = func(folder string) { e.note("made a new store at " + quote(folder)) }
	if dir, err := cacheFolder(); err == nil {
		o.MountsDir, o.Cache = dir, filepath.Join(dir, "buckets")
	}
	return e.traffic.metered(o)
}

// hintAtMaking says what to do if no store could be made, or "".
func hintAtMaking(err error) string {
	e, ok := errors.AsType[*config.NoPlaceError](err)
	switch {
	case !ok:
		return ""
	case e.Mount:
		return "mount the disk; or 'castar init -s " + quote(e.Folder) + "' makes a new store there"
	}
	return "'castar init --parents -s " + quote(e.Folder) + "' makes a store and the folders above it"
}

// isWrongName reports whether the name of a store on the command line is wrong.
func isWrongName(err error) bool {
	e, ok := errors.AsType[*config.NameError](err)
	return ok && !e.File
}
