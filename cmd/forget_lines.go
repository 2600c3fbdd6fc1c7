package cmd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"castar/store"
	"castar/store/history"
	"castar/store/tree"
)

// forgetting is which lines of the log to forget.
type forgetting struct {
	ingests   []store.Tag      // all lines, oldest first
	tags      map[int][]string // of each line, by its place, the tags that point at it
	decisions []history.Decision
	number    []int // of the line that each decision is about; the newest is 1
}

// newForgetting finds for each tag the line that it points at: the newest with its root and name, or else with its root.
func newForgetting(kept tree.Kept) *forgetting {
	f := &forgetting{ingests: kept.Ingests, tags: make(map[int][]string)}
	for _, t := range kept.Tags {
		at := -1
		for i, line := range f.ingests {
			if sameRoot(line.Root, t.Root) && (line.Name == t.Name || at < 0 || f.ingests[at].Name != t.Name) {
				at = i
			}
		}
		if at >= 0 {
			f.tags[at] = append(f.tags[at], "tag "+t.Name)
		}
	}
	return f
}

// decide adds a decision about the line at a place.
func (f *forgetting) decide(at int, keep bool, reasons []string) {
	if tags := f.tags[at]; len(tags) > 0 {
		keep, reasons = true, append(slices.Clone(reasons), tags...)
	}
	f.decisions = append(f.decisions, history.Decision{Ingest: f.ingests[at], Keep: keep, Reasons: reasons})
	f.number = append(f.number, len(f.ingests)-at)
}

func (f *forgetting) forgotten() (lines []store.Tag) {
	for _, d := range f.decisions {
		if !d.Keep {
			lines = append(lines, d.Ingest)
		}
	}
	return lines
}

// byPolicy decides about the lines that the flags are about.
func (f *forgetting) byPolicy(o *forgetFlags) {
	has := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	var asked []store.Tag
	places := make(map[store.Tag][]int) // equal lines one after the other
	for i, t := range f.ingests {
		if has(o.tags, t.Name) && has(o.hosts, t.Host) && has(o.sources, t.Source) {
			asked = append(asked, t)
			places[t] = append(places[t], i)
		}
	}
	for _, g := range history.GroupBy(asked, o.groupBy) {
		for _, d := range o.policy.Apply(g.Ingests, time.Now()) {
			of := places[d.Ingest]
			last := len(of) - 1 // decisions are newest first
			places[d.Ingest] = of[:last]
			f.decide(of[last], d.Keep, d.Reasons)
		}
	}
}

// byName decides to forget the lines that refs name. It is an error if one names no line, or one that has to stay.
func (f *forgetting) byName(refs []string) error {
	chosen := make(map[int]bool)
	for _, ref := range refs {
		places, isTag, err := f.find(ref)
		if err != nil {
			return err
		}
		for _, at := range places {
			if tags := f.tags[at]; len(tags) > 0 && !isTag {
				return &failure{err: fmt.Errorf("nothing was forgotten: %s: the %s points at it", quote(ref), quote(tags[0])), status: statusFailed,
					hint: "'castar tag -d' deletes a tag"}
			}
			chosen[at] = true
		}
	}
	for at := len(f.ingests) - 1; at >= 0; at-- {
		if chosen[at] {
			f.decide(at, false, nil)
		}
	}
	return nil
}

// find returns the places of the lines that ref names. isTag says that it is a tag, of which all lines are meant.
func (f *forgetting) find(ref string) (places []int, isTag bool, err error) {
	all := func(matches func(t store.Tag) bool) (places []int) {
		for i, t := range f.ingests {
			if matches(t) {
				places = append(places, i)
			}
		}
		return places
	}
	if places = all(func(t store.Tag) bool { return t.Name == ref && ref != "" }); len(places) > 0 {
		return places, true, nil
	}
	if n, ok := history.ParseName(ref); ok {
		line, err := n.Find(f.ingests)
		if err != nil {
			return nil, false, hintAtRoots(fmt.Errorf("%s: %w", quote(ref), err))
		}
		return all(func(t store.Tag) bool { return t == line }), false, nil
	}
	prefix := strings.ToLower(ref)
	if d, err := store.ParseDigest(ref); err == nil {
		prefix = d.String()
	}
	if store.IsDigestPrefix(prefix) {
		places = all(func(t store.Tag) bool {
			d, err := t.Root.RootDigest()
			return err == nil && strings.HasPrefix(d.String(), prefix)
		})
	}
	switch {
	case len(places) == 0:
		return nil, false, hintAtRoots(fmt.Errorf("no ingest in the log has the tag or root %s: %w", quote(ref), store.ErrNotFound))
	case slices.ContainsFunc(places, func(at int) bool { return !sameRoot(f.ingests[at].Root, f.ingests[places[0]].Root) }):
		return nil, false, fmt.Errorf("%s: several roots begin like that", quote(ref))
	}
	return places, false, nil
}
