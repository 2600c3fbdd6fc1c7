package ignore

import "bytes"

// CacheDirTag is the name of the file that marks the directory it is in as a cache.
const CacheDirTag = "CACHEDIR.TAG"

// CacheDirTagSize is how much of such a file IsCacheDirTag needs.
const CacheDirTagSize = len(CacheDirSignature)

// CacheDirSignature is what such a file begins with, from the Cache Directory Tagging Specification,
// https://bford.info/cachedir/.
const CacheDirSignature = "Signature: 8a477f597d28d172789f06886806bc55"

// IsCacheDirTag reports whether a regular file with the name CacheDirTag is one, from its first CacheDirTagSize bytes or
// more.
func IsCacheDirTag(head []byte) bool { return bytes.HasPrefix(head, []byte(CacheDirSignature)) }
