package ignore

import "bytes"

// RepositoryName is the name of the entry that makes its directory the root of a git repository.
const RepositoryName = ".git"

// Peeker looks into a directory. Paths are relative to the directory, with slashes.
type Peeker interface {
	// Head returns at most the first limit bytes of the regular file at path. It fails for any other entry.
	Head(path string, limit int) ([]byte, error)
	// Exists reports whether there is an entry at path.
	Exists(path string) bool
}

// IsRepository reports whether the directory of p is the root of a git repository. The patterns of the directories above
// do not hold there. In such a directory, .git is a directory with the entries that every repository has, or a file that
// points to one, as in submodules and linked worktrees. IsRepository does not check that the target of a file exists. Git
// does, and applies the patterns from above if it is missing, but they were not written for these files.
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
	return err != nil || bytes.HasPrefix(head, []byte("ref:")) || isHex(head) // err: an older git has a symlink there
}

// isHex reports whether b is 40 hexadecimal digits, the name of an object or its beginning.
func isHex(b []byte) bool { return len(b) == 40 && len(bytes.Trim(b, "0123456789abcdefABCDEF")) == 0 }

// CacheDirTag is the name of the file that marks its directory as a cache.
const CacheDirTag = "CACHEDIR.TAG"

// CacheDirSignature is the beginning of such a file, from the Cache Directory Tagging Specification,
// https://bford.info/cachedir/.
const CacheDirSignature = "Signature: 8a477f597d28d172789f06886806bc55"

// IsCache reports whether the directory of p has a regular file named CacheDirTag that marks it as a cache. The error is
// that of reading this file.
func IsCache(p Peeker) (bool, error) {
	head, err := p.Head(CacheDirTag, len(CacheDirSignature))
	return bytes.Equal(head, []byte(CacheDirSignature)), err
}
