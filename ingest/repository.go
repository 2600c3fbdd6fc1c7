package ingest

import (
	"slices"

	"castar/ingest/ignore"
)

// repository returns the Stack of an open directory, whose names are in order, before its own patterns: what those above
// it say ends where git sees another repository, and at a .git, in which git ignores nothing.
func repository(fd int, names []string, at *place, ignored ignore.Stack) ignore.Stack {
	if at.name == ignore.RepositoryName {
		return ignored.Repository()
	}
	if _, ok := slices.BinarySearch(names, ignore.RepositoryName); ok && ignore.IsRepository(peeker(fd)) {
		return ignored.Repository()
	}
	return ignored
}

// peeker is an open directory as an ignore.Peeker.
type peeker int

func (fd peeker) Head(path string, limit int) ([]byte, error) { return readHead(int(fd), path, limit) }

func (fd peeker) Exists(path string) bool {
	var st stat
	return st.at(int(fd), path) == nil
}
