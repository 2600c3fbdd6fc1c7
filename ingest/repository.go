package ingest

import (
	"slices"

	"castar/ingest/ignore"
)

// repository returns the Stack of an open directory without its own patterns. names are its names, sorted. Patterns of
// the directories above do not hold in another git repository, and not in .git, where git ignores nothing.
func repository(fd int, names []string, at *place, ignored ignore.Stack) ignore.Stack {
	if at.name == ignore.RepositoryName {
		return ignored.Repository()
	}
	if _, ok := slices.BinarySearch(names, ignore.RepositoryName); ok && ignore.IsRepository(peeker(fd)) {
		return ignored.Repository()
	}
	return ignored
}

// peeker is the descriptor of a directory. It implements ignore.Peeker.
type peeker int

func (fd peeker) Head(path string, limit int) ([]byte, error) { return readHead(int(fd), path, limit) }

func (fd peeker) Exists(path string) bool {
	var st stat
	return st.at(int(fd), path) == nil
}
