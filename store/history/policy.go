// Package history decides which recorded ingests to keep, and which ingest a name such as home~1 means.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"castar/store"
)

// Unlimited is a count of a Policy that keeps an ingest of every period.
const Unlimited = -1

// Policy says which ingests to keep. The rules are those of restic. An ingest is kept if any rule keeps it.
//
// A count of N keeps the newest ingest of each of the last N hours, days, ISO weeks, months or years that have one.
// Periods without an ingest do not count. While a rule has kept fewer than N, it keeps the oldest ingest as well, so that
// the history reaches back as far as it can. Periods are those of the ingests' own time zone.
type Policy struct {
	Last, Hourly, Daily, Weekly, Monthly, Yearly int  // 0 for none, Unlimited for all
	Within                                       Span // before the newest ingest that is not in the future; the zero Span keeps none
}

// Empty reports whether p keeps nothing at all.
func (p Policy) Empty() bool { return p == Policy{} }

// Decision is what Apply or a Forgetting says of one ingest.
type Decision struct {
	Ingest  store.Tag
	Keep    bool
	Reasons []string // what keeps it: rules, such as "daily", and in a Forgetting tags, such as "tag home"
	Number  int      // of a Forgetting: the line of the log; 1 is the newest
}

// rule keeps the first ingest of each period, while count lasts.
type rule struct {
	name   string
	count  int
	period func(t time.Time, n int) string // n counts the ingests, newest first
	last   string
}

func (p Policy) rules() []*rule {
	format := func(layout string) func(time.Time, int) string {
		return func(t time.Time, _ int) string { return t.Format(layout) }
	}
	return []*rule{
		{name: "last", count: p.Last, period: func(_ time.Time, n int) string { return strconv.Itoa(n) }},
		{name: "hourly", count: p.Hourly, period: format("2006-01-02 15")},
		{name: "daily", count: p.Daily, period: format("2006-01-02")},
		{name: "weekly", count: p.Weekly, period: func(t time.Time, _ int) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-%d", year, week)
		}},
		{name: "monthly", count: p.Monthly, period: format("2006-01")},
		{name: "yearly", count: p.Yearly, period: format("2006")},
	}
}

// Apply decides about the ingests of one group. The decisions are newest first. Ingests of the same time keep their order,
// the last one counts as the newest. What is later than now is the work of a clock that was wrong: a span does not begin
// there.
func (p Policy) Apply(ingests []store.Tag, now time.Time) []Decision {
	newest := slices.Clone(ingests)
	slices.Reverse(newest)
	slices.SortStableFunc(newest, func(a, b store.Tag) int { return b.Time.Compare(a.Time) })
	var since time.Time
	if i := slices.IndexFunc(newest, func(t store.Tag) bool { return !t.Time.After(now) }); i >= 0 {
		since = p.Within.Before(newest[i].Time)
	}
	rules := p.rules()
	decisions := make([]Decision, 0, len(newest))
	for n, t := range newest {
		d := Decision{Ingest: t}
		if p.Within != (Span{}) && t.Time.After(since) {
			d.Reasons = append(d.Reasons, "within "+p.Within.String())
		}
		for _, r := range rules {
			if reason := r.keeps(t.Time, n, n == len(newest)-1); reason != "" {
				d.Reasons = append(d.Reasons, reason)
			}
		}
		d.Keep = len(d.Reasons) > 0
		decisions = append(decisions, d)
	}
	return decisions
}

// keeps returns why the rule keeps the ingest number n, or "".
func (r *rule) keeps(t time.Time, n int, oldest bool) string {
	if r.count == 0 {
		return ""
	}
	period := r.period(t, n)
	same := n > 0 && period == r.last
	if same && !oldest {
		return ""
	}
	r.last = period
	if r.count > 0 {
		r.count--
	}
	if same {
		return "oldest " + r.name
	}
	return r.name
}

// Group is ingests of the same host, source and tag, as far as these are asked for.
type Group struct {
	Host, Source, Tag string
	Ingests           []store.Tag // in the order they were recorded
}

// Keys says by which fields GroupBy tells groups apart.
type Keys struct{ Host, Source, Tag bool }

// ParseKeys reads a list such as "host,source,tag". The empty string puts all ingests into one group.
func ParseKeys(list []string) (k Keys, err error) {
	for _, word := range list {
		switch word {
		case "":
		case "host":
			k.Host = true
		case "source", "path", "paths":
			k.Source = true
		case "tag", "tags":
			k.Tag = true
		default:
			return k, fmt.Errorf("unknown field %q to group by, want host, source or tag", word)
		}
	}
	return k, nil
}

// GroupBy splits ingests into groups, in the order of host, source and tag.
func GroupBy(ingests []store.Tag, by Keys) []Group {
	var groups []Group
	found := make(map[[3]string]int)
	for _, t := range ingests {
		var k [3]string
		if by.Host {
			k[0] = t.Host
		}
		if by.Source {
			k[1] = t.Source
		}
		if by.Tag {
			k[2] = t.Name
		}
		i, ok := found[k]
		if !ok {
			i = len(groups)
			found[k] = i
			groups = append(groups, Group{Host: k[0], Source: k[1], Tag: k[2]})
		}
		groups[i].Ingests = append(groups[i].Ingests, t)
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Tag, b.Tag))
	})
	return groups
}

// Span is a length of time as a calendar counts it.
type Span struct{ Years, Months, Days, Hours int }

// ParseSpan reads numbers with units, such as 30d or 1y6m: y for years, m for months, w for weeks, d for days, h for
// hours.
func ParseSpan(text string) (s Span, err error) {
	bad := fmt.Errorf("invalid time span %q: want numbers with the units y, m, w, d, h, such as 30d or 1y6m", text)
	for rest := text; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == len(rest) {
			return Span{}, bad
		}
		n, err := strconv.ParseUint(rest[:digits], 10, 16) // no more than Date can count with
		if errors.Is(err, strconv.ErrRange) {
			return Span{}, fmt.Errorf("invalid time span %q: %s is too many", text, rest[:digits])
		}
		field, ok := s.field(rest[digits])
		if err != nil || !ok {
			return Span{}, bad
		}
		if rest[digits] == 'w' {
			n *= 7
		}
		*field += int(n)
		rest = rest[digits+1:]
	}
	if s == (Span{}) {
		return Span{}, bad
	}
	return s, nil
}

func (s *Span) field(unit byte) (*int, bool) {
	switch unit {
	case 'y':
		return &s.Years, true
	case 'm':
		return &s.Months, true
	case 'w', 'd':
		return &s.Days, true
	case 'h':
		return &s.Hours, true
	}
	return nil, false
}

// Before returns the time that lies s before t.
func (s Span) Before(t time.Time) time.Time {
	return t.AddDate(-s.Years, -s.Months, -s.Days).Add(-time.Duration(s.Hours) * time.Hour)
}

// String returns s in the form that ParseSpan takes.
func (s Span) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{{s.Years, 'y'}, {s.Months, 'm'}, {s.Days, 'd'}, {s.Hours, 'h'}} {
		if part.n != 0 {
			fmt.Fprintf(&b, "%d%c", part.n, part.unit)
		}
	}
	return b.String()
}
