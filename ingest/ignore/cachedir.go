package ignore

import "bytes"

// CacheDirTag is the name of the file that marks its directory as a cache.
const CacheDirTag = "CACHEDIR.TAG"

// CacheDirTagSize is how many bytes of such a file IsCacheDirTag needs.
const CacheDirTagSize = len(CacheDirSignature)

// CacheDirSignature is the beginning of such a file, from the Cache Directory Tagging Specification,
// https://bford.info/cachedir/.
const CacheDirSignature = "Signature: 8a477f597d28d172789f06886806bc55"

// IsCacheDirTag reports whether a regular file named CacheDirTag marks a cache. head is at least its first
// CacheDirTagSize bytes.
func IsCacheDirTag(head []byte) bool { return bytes.HasPrefix(head, []byte(CacheDirSignature)) }
