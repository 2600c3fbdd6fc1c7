package packed

import (
	"errors"
	"fmt"
	"strings"

	"castar/store"
)

// The files of a store, all below its folder; FORMAT.md says what is in them.
const (
	configName = "config" // what the store is; its presence makes a folder a store
	lockName   = "lock"   // empty; flock: shared for using the store, exclusive for removing from it
	logName    = "log"    // a line for each ingest
	tagsDir    = "tags"
)

func tagPath(tagName string) string { return tagsDir + "/" + store.Sum([]byte(tagName)).String() }

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
