package history

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"castar/store"
)

// Forgetting decides which lines of the log to forget. What a tag points at stays: of the lines with the root of a tag
// the newest, and of those with the tag's name if there are any. It may be used concurrently.
type Forgetting struct {
	ingests []store.Tag      // all lines, oldest first
	tags    map[int][]string // of a line, by its place in ingests, the tags that point at it
}

// Filter selects the lines of the log that have one of the values of each list. An empty list selects all.
type Filter struct{ Tags, Hosts, Sources []string }

func (f *Filter) has(t store.Tag) bool {
	one := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	return one(f.Tags, t.Name) && one(f.Hosts, t.Host) && one(f.Sources, t.Source)
}

// TaggedError is the error for a line that stays because a tag points at it.
type TaggedError struct{ Ref, Tag string } // what names the line, and the tag

func (e *TaggedError) Error() string {
	return fmt.Sprintf("%s: the tag %s points at it", store.Quote(e.Ref), store.Quote(e.Tag))
}

// NewForgetting returns what decides about a log, oldest line first, in a store with these tags.
func NewForgetting(ingests, tags []store.Tag) *Forgetting {
	f := &Forgetting{ingests: ingests, tags: make(map[int][]string)}
	for _, t := range tags {
		at := -1
		for i, line := range ingests {
			if SameRoot(line.Root, t.Root) && (line.Name == t.Name || at < 0 || ingests[at].Name != t.Name) {
				at = i
			}
		}
		if at >= 0 {
			f.tags[at] = append(f.tags[at], t.Name)
		}
	}
	return f
}

// SameRoot reports whether two roots are the same. A directory that was found by its digest may have another size than
// one that was found by a tag.
func SameRoot(a, b store.Node) bool {
	if a.Kind == store.KindDirectory {
		a.Size, b.Size = 0, 0
	}
	return a == b
}

// decide returns the decision about the line at a place.
func (f *Forgetting) decide(at int, d Decision) Decision {
	d.Number = len(f.ingests) - at
	for _, name := range f.tags[at] {
		d.Keep, d.Reasons = true, append(slices.Clip(d.Reasons), "tag "+name)
	}
	return d
}

// ByPolicy decides by p about the lines that only selects, in each of the groups of GroupBy by itself. The lines of a group
// are newest first.
func (f *Forgetting) ByPolicy(only Filter, by Keys, p Policy, now time.Time) (lines []Decision) {
	var asked []store.Tag
	places := make(map[store.Tag][]int) // equal lines one after the other
	for i, t := range f.ingests {
		if only.has(t) {
			asked = append(asked, t)
			places[t] = append(places[t], i)
		}
	}
	for _, g := range GroupBy(asked, by) {
		for _, d := range p.Apply(g.Ingests, now) {
			of := places[d.Ingest]
			last := len(of) - 1 // decisions are newest first
			places[d.Ingest] = of[:last]
			lines = append(lines, f.decide(of[last], d))
		}
	}
	return lines
}

// ByName forgets the lines that refs name, and returns them newest first. A ref is a tag, for all lines with that tag; the
// text of a Name; or a digest of a root or its beginning, for all lines with that root. The error is store.ErrNotFound if
// one names no line, and a *TaggedError if one that is no tag names a line that stays.
func (f *Forgetting) ByName(refs []string) (lines []Decision, err error) {
	chosen := make(map[int]bool)
	for _, ref := range refs {
		places, isTag, err := f.find(ref)
		if err != nil {
			return nil, err
		}
		for _, at := range places {
			if tags := f.tags[at]; len(tags) > 0 && !isTag {
				return nil, &TaggedError{ref, tags[0]}
			}
			chosen[at] = true
		}
	}
	for at := len(f.ingests) - 1; at >= 0; at-- {
		if chosen[at] {
			lines = append(lines, f.decide(at, Decision{Ingest: f.ingests[at]}))
		}
	}
	return lines, nil
}

// find returns the places of the lines that ref names. isTag says that it is a tag, so all lines with it are meant.
func (f *Forgetting) find(ref string) (places []int, isTag bool, err error) {
	if places = f.all(func(t store.Tag) bool { return t.Name == ref && ref != "" }); len(places) > 0 {
		return places, true, nil
	}
	if n, ok := ParseName(ref); ok {
		line, err := n.Find(f.ingests)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", store.Quote(ref), err)
		}
		return f.all(func(t store.Tag) bool { return t == line }), false, nil
	}
	prefix := strings.ToLower(ref)
	if d, err := store.ParseDigest(ref); err == nil {
		prefix = d.String()
	}
	if store.IsDigestPrefix(prefix) {
		places = f.all(func(t store.Tag) bool {
			d, err := t.Root.RootDigest()
			return err == nil && strings.HasPrefix(d.String(), prefix)
		})
	}
	switch {
	case len(places) == 0:
		return nil, false, fmt.Errorf("no ingest in the log has the tag or root %s: %w", store.Quote(ref), store.ErrNotFound)
	case slices.ContainsFunc(places, func(at int) bool { return !SameRoot(f.ingests[at].Root, f.ingests[places[0]].Root) }):
		return nil, false, fmt.Errorf("%s: several roots begin with these digits", store.Quote(ref))
	}
	return places, false, nil
}

// all returns the places of the lines that match.
func (f *Forgetting) all(matches func(t store.Tag) bool) (places []int) {
	for i, t := range f.ingests {
		if matches(t) {
			places = append(places, i)
		}
	}
	return places
}
