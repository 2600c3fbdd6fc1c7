package ignore

import (
	"bytes"
	"errors"
	"fmt"
)

// RepositoryName is the name of the entry that makes its directory the root of a git repository.
const RepositoryName = ".git"

// ErrNoFile is the error of a Peeker that has no regular file at a path.
var ErrNoFile = errors.New("not a regular file")

// Peeker looks into a directory. Paths are relative to the directory, with slashes.
type Peeker interface {
	// Head returns at most the first limit bytes of the regular file at path, or ErrNoFile.
	Head(path string, limit int) ([]byte, error)
	// Exists reports whether there is an entry at path.
	Exists(path string) bool
}

// Enter returns the Stack of a directory that p looks into. s is the Stack of its parent, name its name, and dir returns its
// path as for Push. Patterns of the directories above do not hold in another git repository, and not in .git, where git
// ignores nothing. An error is that of reading the directory's own patterns; the Stack is then without them.
func (s Stack) Enter(name string, dir func() string, p Peeker) (Stack, error) {
	if name == RepositoryName || IsRepository(p) {
		s = s.Repository()
	}
	data, err := p.Head(FileName, MaxFileSize+1)
	switch {
	case errors.Is(err, ErrNoFile):
		return s, nil
	case err != nil:
		return s, err
	case len(data) > MaxFileSize:
		return s, fmt.Errorf("longer than %d bytes, too long for a list of patterns", MaxFileSize)
	}
	return s.Push(dir(), Parse(data)), nil
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
	if errors.Is(err, ErrNoFile) {
		err = nil
	}
	return bytes.Equal(head, []byte(CacheDirSignature)), err
}
