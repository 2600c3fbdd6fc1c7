package objects

import (
	"strings"

	"castar/store"
)

// Names of objects. The first three are those of tvix and snix, where a folder has the first two bytes of the digest.
// What is below castar/ is this program's own: they never look there, and nothing they wrote depends on it.
//
//	blobs/b3/<4 hex>/<64 hex>         the record of a blob
//	chunks/b3/<4 hex>/<64 hex>        the bytes of a chunk
//	dirs/b3/<4 hex>/<64 hex>          a directory and all that are below it
//	castar/dirs/b3/<4 hex>/<64 hex>   a directory that was stored without its children
//	castar/closures/<64 hex>          what is in the closure of that root
//	castar/tags/<64 hex>              a tag, by the digest of its name
//	castar/log/<16 hex>-<26 letters>  an ingest, by the time of its record
const (
	blobsPrefix    = "blobs/b3/"
	chunksPrefix   = "chunks/b3/"
	dirsPrefix     = "dirs/b3/"
	ownPrefix      = "castar/"
	ownDirsPrefix  = ownPrefix + "dirs/b3/"
	closuresPrefix = ownPrefix + "closures/"
	tagsPrefix     = ownPrefix + "tags/"
	logPrefix      = ownPrefix + "log/"
)

// shardLen is the number of hexadecimal digits that the names of folders have.
const shardLen = 4

func blobName(d store.Digest) string    { return sharded(blobsPrefix, d) }
func chunkName(d store.Digest) string   { return sharded(chunksPrefix, d) }
func dirName(d store.Digest) string     { return sharded(dirsPrefix, d) }
func ownDirName(d store.Digest) string  { return sharded(ownDirsPrefix, d) }
func closureName(d store.Digest) string { return closuresPrefix + d.String() }
func tagName(name string) string        { return tagsPrefix + store.Sum([]byte(name)).String() }

func sharded(prefix string, d store.Digest) string {
	hex := d.String()
	return prefix + hex[:shardLen] + "/" + hex
}

// shardedPrefix returns what the sharded names begin with whose digests begin with the first nibbles digits of d.
func shardedPrefix(prefix string, d store.Digest, nibbles int) string {
	hex := d.String()[:nibbles]
	if nibbles <= shardLen {
		return prefix + hex
	}
	return prefix + hex[:shardLen] + "/" + hex
}

// digestOf returns the digest that a name below prefix, sharded or not, ends with. Other names have none: strangers may
// keep what they like beside the objects.
func digestOf(prefix, name string) (store.Digest, bool) {
	hex := name[strings.LastIndexByte(name, '/')+1:]
	d, err := store.ParseDigest(hex)
	if err != nil || name != sharded(prefix, d) && name != prefix+hex || hex != d.String() {
		return store.Digest{}, false
	}
	return d, true
}
