package packed

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"castar/store"
)

// The files of a store, all below its folder; FORMAT.md says what is in them.
const (
	configName = "config" // what the store is; its presence makes a folder a store
	lockName   = "lock"   // empty; flock: shared by whoever uses the store, exclusive for who rewrites it
	logName    = "log"    // a line for each ingest
	packsDir   = "packs"
	indexDir   = "index"
	tagsDir    = "tags"
	tmpDir     = "tmp" // files that are not yet part of the store

	packExt  = ".pack"
	indexExt = ".idx"
)

func packPath(id packID) string     { return packsDir + "/" + id.String() + packExt }
func indexPath(name string) string  { return indexDir + "/" + name }
func tmpPath(name string) string    { return tmpDir + "/" + name }
func tagPath(tagName string) string { return tagsDir + "/" + store.Sum([]byte(tagName)).String() }

// parsePackName reads the name of a file in packs/.
func parsePackName(name string) (id packID, ok bool) {
	digits, ok := strings.CutSuffix(name, packExt)
	if !ok || len(digits) != 2*len(id) || strings.ToLower(digits) != digits {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(digits))
	return id, err == nil
}

// Small files hold JSON on one line with its own checksum, so that a flipped bit is noticed and never believed:
//
//	sealed = hex{32} SPACE json NEWLINE
//
// where hex is the first 16 bytes of the BLAKE3 digest of json. People can still read them.
const sealLen = 32

// seal wraps one line of JSON.
func seal(json []byte) []byte {
	b := append([]byte(store.Sum(json).String()[:sealLen]), ' ')
	return append(append(b, json...), '\n')
}

// unseal returns the JSON of a sealed line, with or without its newline.
func unseal(b []byte) ([]byte, error) {
	line := strings.TrimSuffix(string(b), "\n")
	sum, json, ok := strings.Cut(line, " ")
	if !ok || len(sum) != sealLen {
		return nil, errors.New("not a sealed line")
	}
	if store.Sum([]byte(json)).String()[:sealLen] != sum {
		return nil, fmt.Errorf("line does not match its checksum")
	}
	return []byte(json), nil
}
