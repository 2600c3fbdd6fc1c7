package ignore

import "bytes"

// RepositoryName is the name of the entry that makes the directory it is in the root of a git repository.
const RepositoryName = ".git"

// Peeker looks at what is in a directory with an entry RepositoryName. Paths are relative to it, with slashes.
type Peeker interface {
	// Head returns at most limit bytes of the regular file at path. Anything else there is an error.
	Head(path string, limit int) ([]byte, error)
	// Exists reports whether there is anything at path.
	Exists(path string) bool
}

// IsRepository reports whether the directory that p looks into is the root of a git repository, so that the patterns of
// those above it do not hold in it. Its .git is a directory with what every repository has, or a file that says where
// that is, as submodules and linked worktrees have one. Whether it is there is not asked: git, which does, goes on with
// the patterns from above where it is not, but they were not written for these files.
func IsRepository(p Peeker) bool {
	if head, err := p.Head(RepositoryName, 8); err == nil {
		return bytes.HasPrefix(head, []byte("gitdir: "))
	}
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if !p.Exists(RepositoryName + "/" + name) {
			return false
		}
	}
	head, err := p.Head(RepositoryName+"/HEAD", 40)
	return err != nil || bytes.HasPrefix(head, []byte("ref:")) || isHex(head) // an older git had a symlink there
}

// isHex reports whether b is the beginning of an object's name, 40 hexadecimal digits.
func isHex(b []byte) bool { return len(b) == 40 && len(bytes.Trim(b, "0123456789abcdefABCDEF")) == 0 }
