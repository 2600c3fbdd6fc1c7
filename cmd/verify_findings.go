package cmd

import (
	"fmt"
	"strings"

	"castar/store"
	"castar/store/tree"
	"castar/store/tree/advice"
)

// jsonFinding is a line of castar verify --json about something wrong.
type jsonFinding struct {
	What     store.DamageKind `json:"what"`
	Claim    store.Claim      `json:"claim"`
	Harmless bool             `json:"harmless"`
	Kind     string           `json:"kind,omitempty"` // directory or blob
	Digest   string           `json:"digest,omitempty"`
	Blobs    []string         `json:"blobs,omitempty"` // that are lost with a chunk
	Where    string           `json:"where,omitempty"` // file and offset
	Reason   string           `json:"reason"`
	Advice   string           `json:"advice,omitempty"`
	Hits     []jsonHit        `json:"hits,omitempty"`
}

func (jsonFinding) lineType() string { return "finding" }

type jsonHit struct {
	Roots   []string   `json:"roots"` // tags, or the ROOTs that were given
	Paths   []jsonPath `json:"paths"` // the first ones
	More    uint64     `json:"more,omitempty"`
	AtLeast bool       `json:"at_least,omitempty"`
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

func (v *verified) finding(f tree.Finding) {
	switch {
	case v.env.json || !f.Harmless:
		v.print(v.jsonFinding(f), v.text(f))
	case v.env.verbose:
		v.env.note(f.Where + ": " + f.Err.Error())
	}
}

// print prints a line, or as many as a finding has, at once.
func (v *verified) print(j jsonLine, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.env.print(j, text)
}

func (v *verified) jsonFinding(f tree.Finding) jsonFinding {
	j := jsonFinding{What: f.What, Claim: f.What.Claim(), Harmless: f.Harmless, Kind: kindName(f.Kind),
		Where: f.Where, Advice: advice.OnFinding(f, !v.foreign)}
	j.Reason, _ = store.JSONName(store.ShortMessage(f.Err.Error()))
	if f.Kind != 0 {
		j.Digest = f.Digest.String()
	}
	for _, d := range f.Also {
		j.Blobs = append(j.Blobs, d.String())
	}
	for _, h := range f.Hits {
		hit := jsonHit{Roots: h.Roots, More: h.More, AtLeast: h.AtLeast}
		for _, p := range h.Paths {
			hit.Paths = append(hit.Paths, newJSONPath(p))
		}
		j.Hits = append(j.Hits, hit)
	}
	return j
}

// text returns the lines of a finding, without the end of the last.
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
	if advice := advice.OnFinding(f, !v.foreign); advice != "" {
		fmt.Fprintf(&b, "  %s\n", advice)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
