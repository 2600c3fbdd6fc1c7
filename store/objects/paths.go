package objects

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"castar/store"
)

// Names of objects. The first three are those of tvix and snix; the folders are named by the first two bytes of the
// digest. Objects below castar/ are this program's own. Tvix and snix never look there, and no object that they wrote
// depends on one.
//
//	blobs/b3/<4 hex>/<64 hex>         the list of the chunks of a blob
//	chunks/b3/<4 hex>/<64 hex>        the bytes of a chunk
//	dirs/b3/<4 hex>/<64 hex>          a closure: a directory and all directories below it
//	castar/dirs/b3/<4 hex>/<64 hex>   a directory that was stored without its children
//	castar/closures/<64 hex>          the list of the directories in the closure of that root
//	castar/tags/<64 hex>              a tag, by the digest of its name
//	castar/log/<16 hex>-<26 letters>  an ingest, by the time when it was recorded
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

// shardLen is the number of hexadecimal digits in the name of a folder.
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

// shardedPrefix returns the common prefix of the sharded names of all digests that begin with the first nibbles digits of
// d.
func shardedPrefix(prefix string, d store.Digest, nibbles int) string {
	hex := d.String()[:nibbles]
	if nibbles <= shardLen {
		return prefix + hex
	}
	return prefix + hex[:shardLen] + "/" + hex
}

// digestOf returns the digest in a name below prefix, sharded or not. It reports false for any other name: others may keep
// files of their own beside the objects.
func digestOf(prefix, name string) (store.Digest, bool) {
	hex := name[strings.LastIndexByte(name, '/')+1:]
	d, err := store.ParseDigest(hex)
	if err != nil || name != sharded(prefix, d) && name != prefix+hex || hex != d.String() {
		return store.Digest{}, false
	}
	return d, true
}

// Landmark returns the landmark of the store in the folder dir: the oldest ingest in its log, whose name is random, or its
// first directory if there is no log, since tvix and snix keep none. The error is fs.ErrNotExist if the store has neither,
// and thus nothing to recognize it by.
func Landmark(dir string) (store.Landmark, error) {
	if name, err := firstFile(dir, logPrefix); err == nil {
		return store.LandmarkOf(dir, name)
	}
	name, err := firstFile(dir, dirsPrefix)
	if err != nil {
		return store.Landmark{}, err
	}
	return store.LandmarkOf(dir, name)
}

// firstFile returns the path, relative to dir, of the first file below folder in the order of names.
func firstFile(dir, folder string) (name string, err error) {
	folder = path.Clean(folder)
	fs.WalkDir(os.DirFS(dir), folder, func(at string, e fs.DirEntry, werr error) error {
		switch {
		case werr != nil && at == folder:
			err = werr
		case werr == nil && e.Type().IsRegular():
			name = at
			return fs.SkipAll
		}
		return nil
	})
	if name == "" {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, folder), cmp.Or(err, fs.ErrNotExist))
	}
	return name, nil
}
