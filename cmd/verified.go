package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"castar/store"
	"castar/store/tree"
)

// verified is what a verify finds on its way to stdout.
type verified struct {
	env     *env
	foreign bool // the store cannot check its own files
	options *tree.VerifyOptions
	mu      sync.Mutex // for stdout
}

// jsonVerifying is a line of castar verify --json that says how far it is.
type jsonVerifying struct {
	Type    string `json:"type"` // "progress"
	Bytes   uint64 `json:"bytes"`
	Total   uint64 `json:"total"`
	Objects uint64 `json:"objects"`
	Damaged uint64 `json:"damaged"`
}

// jsonFinding is a line of castar verify --json about something that is not as it should be.
type jsonFinding struct {
	Type     string      `json:"type"` // "finding"
	What     store.What  `json:"what"`
	Claim    store.Claim `json:"claim"`
	Harmless bool        `json:"harmless"`
	Kind     string      `json:"kind,omitempty"` // directory or blob
	Digest   string      `json:"digest,omitempty"`
	Blobs    []string    `json:"blobs,omitempty"` // that are lost with a chunk
	Where    string      `json:"where,omitempty"` // file and offset
	Reason   string      `json:"reason"`
	Advice   string      `json:"advice,omitempty"`
	Hits     []jsonHit   `json:"hits,omitempty"`
}

type jsonHit struct {
	Roots   []string   `json:"roots"` // tags, or the ROOTs that were given
	Paths   []jsonPath `json:"paths"` // the first ones
	More    uint64     `json:"more,omitempty"`
	AtLeast bool       `json:"at_least,omitempty"`
}

type jsonPath struct {
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"`
}

// jsonVerified is the last line of castar verify --json.
type jsonVerified struct {
	Type        string                 `json:"type"`   // "summary"
	Claims      map[store.Claim]uint64 `json:"claims"` // findings against each
	Harmless    uint64                 `json:"harmless_findings"`
	Roots       uint64                 `json:"roots"`
	Directories uint64                 `json:"directories"`
	Files       uint64                 `json:"files"`
	Objects     uint64                 `json:"objects"`
	Bytes       uint64                 `json:"bytes"`
	Assembled   uint64                 `json:"assembled"`
	Recorded    int                    `json:"recorded"`
	Released    int                    `json:"released"`
	NotRecorded string                 `json:"not_recorded,omitempty"`
	Part        int                    `json:"part,omitempty"`
	Parts       int                    `json:"parts,omitempty"`
	Resumed     string                 `json:"resumed,omitempty"`
	Stopped     string                 `json:"stopped,omitempty"`
	Seconds     float64                `json:"seconds"`
}

// progress shows how far the check is, as a bar or as JSON, until the function it returns is called.
func (v *verified) progress(p *store.ScrubProgress) (stop func()) {
	stopBar := v.env.startProgress("verify", func() sample {
		return sample{files: p.Objects.Load(), bytes: p.Bytes.Load(), total: p.Total.Load(), unit: "objects"}
	})
	if !v.env.json {
		return stopBar
	}
	quit, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				v.mu.Lock()
				v.env.stdout.json(jsonVerifying{"progress", p.Bytes.Load(), p.Total.Load(), p.Objects.Load(), p.Damaged.Load()})
				v.mu.Unlock()
			}
		}
	}()
	return func() {
		close(quit)
		<-finished
		stopBar()
	}
}

// kindName names an object: chunks are blobs too.
func kindName(k store.Kind) string {
	switch k {
	case 0:
		return ""
	case store.KindFile:
		return "blob"
	}
	return k.String()
}

// finding prints one.
func (v *verified) finding(f tree.Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.env.json:
		v.env.stdout.json(v.jsonFinding(f))
	case !f.Harmless:
		io.WriteString(v.env.stdout, v.text(f))
	case v.env.verbose:
		v.env.note("verify", f.Where+": "+f.Err.Error())
	}
}

func (v *verified) jsonFinding(f tree.Finding) jsonFinding {
	j := jsonFinding{Type: "finding", What: f.What, Claim: f.What.Claim(), Harmless: f.Harmless, Kind: kindName(f.Kind),
		Where: f.Where, Advice: v.advice(f)}
	j.Reason, _ = jsonName(store.ShortMessage(f.Err.Error()))
	if f.Kind != 0 {
		j.Digest = f.Digest.String()
	}
	for _, d := range f.Also {
		j.Blobs = append(j.Blobs, d.String())
	}
	for _, h := range f.Hits {
		hit := jsonHit{Roots: h.Roots, More: h.More, AtLeast: h.AtLeast}
		for _, p := range h.Paths {
			path := jsonPath{}
			path.Path, path.PathBase64 = jsonName(p)
			hit.Paths = append(hit.Paths, path)
		}
		j.Hits = append(j.Hits, hit)
	}
	return j
}

// text returns the lines of a finding.
func (v *verified) text(f tree.Finding) string {
	var b strings.Builder
	fmt.Fprint(&b, f.What)
	if f.Kind != 0 {
		fmt.Fprintf(&b, " %s %s", kindName(f.Kind), f.Digest)
	}
	fmt.Fprintf(&b, ": %s\n", store.Escape(store.ShortMessage(f.Err.Error())))
	if f.Where != "" {
		fmt.Fprintf(&b, "  at %s\n", quote(f.Where))
	}
	for _, h := range f.Hits {
		roots := quoteAll(h.Roots, ", ")
		for _, p := range h.Paths {
			if p == "" {
				fmt.Fprintf(&b, "  hits %s itself\n", roots)
			} else {
				fmt.Fprintf(&b, "  hits %s: %s\n", roots, quote(p))
			}
		}
		if h.More > 0 || h.AtLeast {
			least := ""
			if h.AtLeast {
				least = "at least "
			}
			fmt.Fprintf(&b, "  hits %s: %s%d more\n", roots, least, h.More)
		}
	}
	if advice := v.advice(f); advice != "" {
		fmt.Fprintf(&b, "  %s\n", advice)
	}
	return b.String()
}

// advice says what to do about a finding.
func (v *verified) advice(f tree.Finding) string {
	if v.foreign && f.Kind == 0 && f.Where == "" { // what it is could not be looked at
		return "look after permissions and the way to the store, and verify again"
	}
	switch f.What {
	case store.WhatConfig, store.WhatIndex, store.WhatPack, store.WhatFrame:
		return "'castar repair' mends what can be mended"
	case store.WhatTag:
		if errors.Is(f.Err, store.ErrTagsLost) {
			return "set the tags again: 'castar log' lists the roots; then 'castar gc --all' forgets that some were lost"
		}
		return "set the tag again: 'castar log' lists the roots"
	case store.WhatLog:
		if v.foreign { // it has no repair
			return "remove what is there; nothing but a line of the log is lost"
		}
		return "'castar repair' drops the line; nothing else is lost"
	case store.WhatSize:
		return "whoever made the tree made it so; ingest it again"
	case store.WhatDepth:
		return "what is below it is checked, and gc keeps it, but nothing else goes there"
	case store.WhatUnreadable:
		return "look after permissions and the disk, and verify again"
	case store.WhatObject, store.WhatMissing, store.WhatAssembly:
		if f.Unreached {
			return "no tag leads there: 'castar gc' removes it"
		}
		if v.foreign { // an ingest takes what is damaged there for present
			return "'castar copy' brings what is whole to another store; ingest the same files there"
		}
		return "ingest the same files again, or 'castar repair --from STORE'"
	}
	return ""
}

// summary says what was checked, and returns errPartial if something is damaged.
func (v *verified) summary(r tree.VerifyResult, took time.Duration) error {
	total := uint64(0)
	for _, n := range r.Findings {
		total += n
	}
	if v.env.json {
		v.jsonSummary(r, took)
	} else {
		v.table(r)
		v.notes(r)
	}
	if total > 0 {
		return errPartial
	}
	return nil
}

func (v *verified) jsonSummary(r tree.VerifyResult, took time.Duration) {
	j := jsonVerified{
		Type: "summary", Claims: map[store.Claim]uint64{}, Harmless: r.Harmless, Roots: r.Roots, Directories: r.Directories,
		Files: r.Files, Objects: r.Objects, Bytes: r.Bytes, Assembled: r.Assembled, Recorded: r.Recorded, Released: r.Released,
		Part: r.Part, Resumed: r.Resumed, Stopped: r.Stopped, Seconds: took.Seconds(),
	}
	if r.Part > 0 {
		j.Parts = v.options.Parts
	}
	if r.NotRecorded != nil {
		j.NotRecorded, _ = jsonName(r.NotRecorded.Error())
	}
	for _, c := range v.claims() {
		j.Claims[c] = r.Findings[c]
	}
	v.env.stdout.json(j)
}

// claims returns the claims in the order of printing.
func (v *verified) claims() []store.Claim {
	return []store.Claim{store.ClaimFiles, store.ClaimObjects, store.ClaimReferences, store.ClaimSizes, store.ClaimChunks}
}

// table prints a line for each claim.
func (v *verified) table(r tree.VerifyResult) {
	objects := "whole: " + plural(r.Objects, "object")
	chunks := "whole: " + plural(r.Assembled, "file") + " in chunks"
	switch {
	case v.options.Structure:
		objects, chunks = "where they should be: "+plural(r.Objects, "object")+"; contents of files were not read", "not read"
	case r.Part > 0:
		objects += fmt.Sprintf("; part %d of %d of the contents of files", r.Part, v.options.Parts)
	}
	text := map[store.Claim]string{
		store.ClaimFiles:      "whole: those of the store itself",
		store.ClaimObjects:    objects,
		store.ClaimReferences: fmt.Sprintf("complete: %s, %s, %s", plural(r.Roots, "root"), plural(r.Directories, "directory"), plural(r.Files, "file")),
		store.ClaimSizes:      "every size is what it says",
		store.ClaimChunks:     chunks,
	}
	for _, c := range v.claims() {
		state, n := "ok", r.Findings[c]
		if v.foreign && c == store.ClaimFiles {
			state, text[c] = "-", "not looked at in this kind of store, but for tags"
		}
		if n > 0 {
			state = "DAMAGED"
			text[c] = fmt.Sprintf("%d found", n)
			if c == store.ClaimObjects {
				text[c] += "; " + objects
			}
		}
		fmt.Fprintf(v.env.stdout, "%-10s  %-7s  %s\n", c, state, text[c])
	}
}

// plural returns n with the noun in the right form.
func plural(n uint64, noun string) string {
	switch stem, isY := strings.CutSuffix(noun, "y"); {
	case n == 1:
	case isY:
		noun = stem + "ies"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// notes says what else is good to know.
func (v *verified) notes(r tree.VerifyResult) {
	e := v.env
	if r.Resumed != "" {
		e.note("verify", "went on where the last one stopped: "+r.Resumed)
	}
	if r.Stopped != "" {
		next := "; the next one with --max-duration goes on there"
		if v.options.NoRecord || r.NotRecorded != nil {
			next = ""
		}
		e.note("verify", "stopped at "+r.Stopped+next)
	}
	if r.Recorded > 0 && r.NotRecorded == nil && !v.options.NoRecord {
		e.note("verify", plural(uint64(r.Recorded), "damaged object")+" recorded: an ingest of the same contents stores what is damaged again")
	}
	if r.Released > 0 && r.NotRecorded == nil && !v.options.NoRecord {
		e.note("verify", plural(uint64(r.Released), "object")+" recorded as damaged before, and whole now")
	}
	if r.Harmless > 0 && !e.verbose {
		e.note("verify", plural(r.Harmless, "finding")+" of which nothing is lost; -v lists them")
	}
	switch {
	case r.NotRecorded == nil:
	case errors.Is(r.NotRecorded, store.ErrReadOnly) && v.options.NoRecord:
	case r.Recorded == 0 && r.Released == 0:
		e.warn("verify", "how much was read was not recorded: "+reason(r.NotRecorded))
	default:
		e.warn("verify", "what is damaged was not recorded: "+reason(r.NotRecorded))
	}
}
