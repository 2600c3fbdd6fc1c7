package ignore

import "bytes"

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
