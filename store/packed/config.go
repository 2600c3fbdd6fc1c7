package packed

import (
	"errors"
	"fmt"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/record"
)

// A program refuses a store whose config has a greater version than formatVersion. A store gets the least version with
// which it can be described, so that older programs can use it as long as they can get it right.
const (
	formatVersion   = 2
	versionBase     = 1
	versionSizeRule = 2 // the config says how sizes are counted
)

// config is the contents of the config file, sealed: written when the store is made, read whenever it is opened.
type config struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`            // 32 random hexadecimal digits
	Hash        string `json:"hash"`          // "blake3"
	Chunker     string `json:"chunker"`       // "fastcdc2020"
	ChunkAvg    int    `json:"chunk_average"` // bytes; the least is half of it, the most twice
	Compression string `json:"compression"`   // "zstd"

	SizeRule store.SizeRule `json:"size_rule,omitempty"` // "snix", or none

	extra string // the other fields
}

func newConfig(rule store.SizeRule) config {
	version := versionBase
	if rule != store.SizeDocumented {
		version = versionSizeRule
	}
	return config{
		Version: version, SizeRule: rule, ID: durable.TempName() + durable.TempName(),
		Hash: "blake3", Chunker: "fastcdc2020", ChunkAvg: chunk.Default().Avg, Compression: "zstd",
	}
}

// writeConfig makes the folder a store.
func writeConfig(fsys durable.FS, c config) error {
	b, err := record.OneLine.Encode(c, c.extra)
	if err != nil {
		return err
	}
	return durable.WriteFile(fsys, pack.TempPath(durable.TempName()), configName, b)
}

// readConfig reads and checks the config file. The error is fs.ErrNotExist where there is none.
func readConfig(fsys durable.FS) (c config, err error) {
	b, err := readSmall(fsys, configName)
	if err != nil {
		return c, err
	}
	if c, err = parseConfig(b); err != nil {
		err = record.At(fsys.Path(configName), err)
	}
	return c, err
}

// isStore reports whether a folder is a store of this format whose config cannot be read because of err.
func isStore(fsys durable.FS, err error) bool {
	if errors.Is(err, store.ErrNewer) {
		return false
	}
	fi, err := fsys.Stat(pack.Dir)
	return err == nil && fi.IsDir()
}

// checkPacks reports why there can be no packs. An index would go on to say what is in them.
func checkPacks(fsys durable.FS) error {
	fi, err := fsys.Stat(pack.Dir)
	if err == nil && !fi.IsDir() { // a symbolic link may lead to a folder of the store
		_, err = fsys.ReadDir(pack.Dir)
	}
	return err
}

func parseConfig(b []byte) (c config, err error) {
	var v struct {
		Version int `json:"version"`
	}
	if _, err := record.OneLine.Decode(b, &v); err != nil {
		return c, err
	}
	switch {
	case v.Version > formatVersion:
		return c, fmt.Errorf("%w %d, this program reads %d", pack.ErrFormat, v.Version, formatVersion)
	case v.Version < 1:
		return c, fmt.Errorf("invalid version %d", v.Version)
	}
	if c.extra, err = record.OneLine.Decode(b, &c); err != nil {
		return c, err
	}
	if c.Hash != "blake3" || c.Chunker != "fastcdc2020" || c.Compression != "zstd" || c.ID == "" {
		return c, errors.New("unknown hash, chunker or compression")
	}
	_, err = chunk.ParamsFor(c.ChunkAvg)
	return c, err
}
