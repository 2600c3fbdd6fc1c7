package cmd

import (
	"fmt"

	"castar/ingest"
	"castar/store"
)

// ingested is a root with what goes with it.
type ingested struct {
	ingest.Result
	source  string // absolute
	seconds float64
}

// jsonIngested is what castar ingest --json prints of each PATH.
type jsonIngested struct {
	Root         string        `json:"root"`                    // 64 hexadecimal digits
	Kind         string        `json:"kind"`                    // directory, file or symlink
	Source       string        `json:"source"`                  // the absolute path that was read
	SourceBase64 string        `json:"source_base64,omitempty"` // where that is not UTF-8
	Tag          string        `json:"tag,omitempty"`           // the name it was given
	store.Counts               // files, directories, symlinks, bytes: what it holds, before deduplication
	Excluded     uint64        `json:"excluded"` // entries that patterns and options left out
	Seconds      float64       `json:"seconds"`  // how long reading took
	LeftOut      []jsonLeftOut `json:"left_out"` // what could not be stored; never null
}

// jsonLeftOut is an entry that could not be stored.
type jsonLeftOut struct {
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"` // where that is not UTF-8
	Reason     string `json:"reason"`
}

// printIngested writes the result for one path.
func (e *env) printIngested(tag string, r ingested) error {
	digest, err := r.Root.RootDigest()
	if err != nil {
		return err
	}
	if !e.json {
		fmt.Fprintln(e.stdout, digest)
		e.noteCounts(r)
		return nil
	}
	j := jsonIngested{Root: digest.String(), Kind: r.Root.Kind.String(), Tag: tag, Counts: r.Counts,
		Excluded: r.Excluded, Seconds: r.seconds, LeftOut: []jsonLeftOut{}}
	j.Source, j.SourceBase64 = jsonName(r.source)
	for _, p := range r.LeftOut {
		l := jsonLeftOut{Reason: p.Err.Error()}
		l.Path, l.PathBase64 = jsonName(p.Path)
		j.LeftOut = append(j.LeftOut, l)
	}
	e.stdout.json(j)
	return nil
}

// noteCounts says with --verbose what a path held.
func (e *env) noteCounts(r ingested) {
	if e.verbose {
		e.note("ingest", fmt.Sprintf("%s: %d files, %d directories, %d symlinks, %s, %d excluded, in %.1f s", r.source,
			r.Counts.Files, r.Counts.Directories, r.Counts.Symlinks, humanBytes(r.Counts.Bytes), r.Excluded, r.seconds))
	}
}
