package sealed

import (
	"cmp"
	"errors"
	"fmt"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/record"
	"castar/store/zstd"
)

// A program refuses a store whose config has a greater version than formatVersion. A store gets the least version with
// which it can be described, so that older programs can use it as long as they can get it right.
const (
	formatVersion   = 2
	versionBase     = 1
	versionSizeRule = 2 // the config says how sizes are counted
)

// Config is the contents of the config file, sealed: written when the store is made, read whenever it is opened.
type Config struct {
	Version     int    `json:"version"`
	ID          string `json:"id"`                          // 32 random hexadecimal digits
	Hash        string `json:"hash"`                        // "blake3"
	Chunker     string `json:"chunker"`                     // "fastcdc2020"
	ChunkAvg    int    `json:"chunk_average"`               // bytes; the least is half of it, the most twice
	Compression string `json:"compression"`                 // "zstd"
	Level       string `json:"compression_level,omitempty"` // "default", "better" or "best"; none is "fastest"

	SizeRule store.SizeRule `json:"size_rule,omitempty"` // "snix", or none

	extra string // the other fields
}

// Settings are what a new store is made with. Zero values are the defaults.
type Settings struct {
	SizeRule    store.SizeRule
	ChunkSize   int    // of chunks on average, in bytes
	Compression string // the name of a level of package zstd
}

// NewConfig returns the config of a new store.
func NewConfig(s Settings) Config {
	version, rule, level := versionBase, s.SizeRule, s.Compression
	if level == zstd.Fastest {
		level = ""
	}
	if rule != store.SizeDocumented {
		version = versionSizeRule
	}
	return Config{
		Version: version, SizeRule: rule, ID: durable.TempName() + durable.TempName(),
		Hash: "blake3", Chunker: "fastcdc2020", ChunkAvg: cmp.Or(s.ChunkSize, chunk.Default().Avg), Compression: "zstd",
		Level: level,
	}
}

// Check returns what is wrong with the settings of a new store.
func (c Config) Check() error {
	if _, err := chunk.ParamsFor(c.ChunkAvg); err != nil {
		return err
	}
	_, err := zstd.Level(c.Level)
	return err
}

// WriteConfig makes the folder a store.
func WriteConfig(fsys durable.FS, c Config) error {
	b, err := record.OneLine.Encode(c, c.extra)
	if err != nil {
		return err
	}
	return durable.WriteFile(fsys, pack.TempPath(durable.TempName()), ConfigName, b)
}

// ReadConfig reads and checks the config file. The error is fs.ErrNotExist where there is none.
func ReadConfig(fsys durable.FS) (c Config, err error) {
	b, err := ReadSmall(fsys, ConfigName)
	if err != nil {
		return c, err
	}
	if c, err = ParseConfig(b); err != nil {
		err = record.At(fsys.Path(ConfigName), err)
	}
	return c, err
}

// ParseConfig reads the config from the bytes of its file. The error is store.ErrNewer for a store of a newer program.
func ParseConfig(b []byte) (c Config, err error) {
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
