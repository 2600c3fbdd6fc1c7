package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/store"
)

// at reads a time in UTC, such as "2026-11-01 15:30".
func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// noEnd is a now after all ingests.
var noEnd = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// every returns n ingests, oldest first. They lie step apart, and the last is at the time last.
func every(last time.Time, n int, step func(time.Time, int) time.Time) []store.Tag {
	ingests := make([]store.Tag, n)
	for i := range ingests {
		ingests[n-1-i] = store.Tag{Time: step(last, -i)}
	}
	return ingests
}

func days(t time.Time, n int) time.Time   { return t.AddDate(0, 0, n) }
func weeks(t time.Time, n int) time.Time  { return t.AddDate(0, 0, 7*n) }
func months(t time.Time, n int) time.Time { return t.AddDate(0, n, 0) }
func hours(t time.Time, n int) time.Time  { return t.Add(time.Duration(n) * time.Hour) }

// kept lists what is kept, newest first, with the reasons.
func kept(decisions []Decision) []string {
	var lines []string
	for _, d := range decisions {
		if d.Keep {
			lines = append(lines, d.Ingest.Time.Format("2006-01-02 15:04")+" "+strings.Join(d.Reasons, ", "))
		}
	}
	return lines
}

func TestApply(t *testing.T) {
	sunday := at(t, "2026-11-01 12:00")
	tests := map[string]struct {
		policy  Policy
		ingests []store.Tag
		want    []string
	}{
		"nothing to decide": {Policy{Last: 3}, nil, nil},
		"an empty policy":   {Policy{}, every(sunday, 3, days), nil},
		"last": {Policy{Last: 2}, every(sunday, 5, hours), []string{
			"2026-11-01 12:00 last", "2026-11-01 11:00 last"}},
		"last, unlimited": {Policy{Last: Unlimited}, every(sunday, 2, hours), []string{
			"2026-11-01 12:00 last", "2026-11-01 11:00 last"}},
		"only days with an ingest count: the last four Sundays of twelve": {Policy{Daily: 4}, every(sunday, 12, weeks), []string{
			"2026-11-01 12:00 daily", "2026-10-25 12:00 daily", "2026-10-18 12:00 daily", "2026-10-11 12:00 daily"}},
		"the newest of each day": {Policy{Daily: 2}, every(sunday, 30, hours), []string{
			"2026-11-01 12:00 daily", "2026-10-31 23:00 daily"}},
		"the newest of each hour": {Policy{Hourly: 2}, every(sunday, 9, func(t time.Time, n int) time.Time {
			return t.Add(time.Duration(n) * 20 * time.Minute)
		}), []string{"2026-11-01 12:00 hourly", "2026-11-01 11:40 hourly"}},
		"weeks end on Sunday": {Policy{Weekly: 2}, every(sunday, 20, days), []string{
			"2026-11-01 12:00 weekly", "2026-10-25 12:00 weekly"}},
		"weeks of ISO 8601 at the turn of the year": {Policy{Weekly: 2}, every(at(t, "2027-01-03 12:00"), 10, days), []string{
			"2027-01-03 12:00 weekly", "2026-12-27 12:00 weekly"}},
		"the oldest as well, while the count lasts": {Policy{Monthly: 4}, every(sunday, 40, days), []string{
			"2026-11-01 12:00 monthly", "2026-10-31 12:00 monthly", "2026-09-30 12:00 monthly", "2026-09-23 12:00 oldest monthly"}},
		"not the oldest once the count is used up": {Policy{Monthly: 3}, every(sunday, 40, days), []string{
			"2026-11-01 12:00 monthly", "2026-10-31 12:00 monthly", "2026-09-30 12:00 monthly"}},
		"years": {Policy{Yearly: 2}, every(sunday, 40, months), []string{
			"2026-11-01 12:00 yearly", "2025-12-01 12:00 yearly"}},
		"several rules": {Policy{Daily: 2, Weekly: 2}, every(sunday, 30, days), []string{
			"2026-11-01 12:00 daily, weekly", "2026-10-31 12:00 daily", "2026-10-25 12:00 weekly"}},
		"7 daily and 4 weekly, of two a day: the last of each day; the newest counts for both": {
			Policy{Daily: 7, Weekly: 4}, every(sunday, 120, func(t time.Time, n int) time.Time { return t.Add(time.Duration(n) * 12 * time.Hour) }), []string{
				"2026-11-01 12:00 daily, weekly", "2026-10-31 12:00 daily", "2026-10-30 12:00 daily", "2026-10-29 12:00 daily",
				"2026-10-28 12:00 daily", "2026-10-27 12:00 daily", "2026-10-26 12:00 daily", "2026-10-25 12:00 weekly",
				"2026-10-18 12:00 weekly", "2026-10-11 12:00 weekly"}},
		"within, from the newest": {Policy{Within: Span{Days: 2}}, every(sunday, 9, days), []string{
			"2026-11-01 12:00 within 2d", "2026-10-31 12:00 within 2d"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := test.policy.Apply(test.ingests, noEnd)
			if len(got) != len(test.ingests) {
				t.Errorf("%d decisions for %d ingests", len(got), len(test.ingests))
			}
			if diff := cmp.Diff(test.want, kept(got)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

// A backup each day for 100 years, by the example in restic's manual: 7 daily, 4 more weekly or 5 where the first week is
// not whole, 11 or 12 monthly, 75 yearly.
func TestApplyHundredYears(t *testing.T) {
	policy := Policy{Daily: 7, Weekly: 5, Monthly: 12, Yearly: 75}
	count := make(map[string]int)
	for _, d := range policy.Apply(every(at(t, "2026-11-04 12:00"), 36525, days), noEnd) {
		for _, reason := range d.Reasons {
			count[reason]++
		}
	}
	want := map[string]int{"daily": 7, "weekly": 5, "monthly": 12, "yearly": 75}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// An order that clocks have mixed up does not change what is kept, and of the same time the one recorded last is the newest.
func TestApplyOrder(t *testing.T) {
	noon := at(t, "2026-11-01 12:00")
	ingests := []store.Tag{{Name: "b", Time: noon}, {Name: "c", Time: noon}, {Name: "a", Time: noon.AddDate(0, 0, -1)}}
	var names []string
	for _, d := range (Policy{Last: 1}).Apply(ingests, noEnd) {
		names = append(names, d.Ingest.Name)
	}
	if diff := cmp.Diff([]string{"c", "b", "a"}, names); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// A line from the future does not make --keep-within forget all the others.
func TestApplyFuture(t *testing.T) {
	now := at(t, "2026-11-01 12:00")
	ingests := append(every(now, 4, days), store.Tag{Time: now.AddDate(70, 0, 0)})
	want := []string{"2096-11-01 12:00 within 2d", "2026-11-01 12:00 within 2d", "2026-10-31 12:00 within 2d"}
	if diff := cmp.Diff(want, kept((Policy{Within: Span{Days: 2}}).Apply(ingests, now))); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if got := kept((Policy{Within: Span{Days: 2}}).Apply(ingests, now.AddDate(-1, 0, 0))); len(got) != len(ingests) {
		t.Errorf("of a future only, kept %q", got)
	}
}

// TestApplyByTheManual draws ingests and a policy, and compares with restic's manual, rule by rule: of the last N periods
// that have one, the newest of each; and the oldest of all, if there are fewer periods than N.
func TestApplyByTheManual(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		count := rapid.IntRange(-1, 5)
		p := Policy{Last: count.Draw(rt, "last"), Hourly: count.Draw(rt, "hourly"), Daily: count.Draw(rt, "daily"),
			Weekly: count.Draw(rt, "weekly"), Monthly: count.Draw(rt, "monthly"), Yearly: count.Draw(rt, "yearly")}
		minutes := rapid.SliceOfNDistinct(rapid.IntRange(0, 3*365*24*60), 0, 40, rapid.ID).Draw(rt, "minutes")
		slices.Sort(minutes)
		var ingests []store.Tag
		for _, m := range minutes {
			ingests = append(ingests, store.Tag{Time: at(t, "2024-12-01 00:00").Add(time.Duration(m) * time.Minute)})
		}
		isoWeek := func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprint(year, " ", week) }
		want := map[time.Time]bool{}
		for _, rule := range []struct {
			n      int
			period func(time.Time) string
		}{
			{p.Last, time.Time.String}, {p.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15") }},
			{p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }}, {p.Weekly, isoWeek},
			{p.Monthly, func(t time.Time) string { return t.Format("2006-01") }}, {p.Yearly, func(t time.Time) string { return t.Format("2006") }},
		} {
			newest := map[string]time.Time{} // of each period
			for _, i := range ingests {
				newest[rule.period(i.Time)] = i.Time
			}
			times := slices.SortedFunc(maps.Values(newest), func(a, b time.Time) int { return b.Compare(a) })
			if len(ingests) > 0 && rule.n != 0 && (rule.n < 0 || len(times) < rule.n) {
				want[ingests[0].Time] = true
			}
			if rule.n >= 0 {
				times = times[:min(rule.n, len(times))]
			}
			for _, when := range times {
				want[when] = true
			}
		}
		for _, d := range p.Apply(ingests, noEnd) {
			if d.Keep != want[d.Ingest.Time] {
				rt.Errorf("%s: keep %v, want %v", d.Ingest.Time, d.Keep, !d.Keep)
			}
		}
	})
}

func TestPolicyEmpty(t *testing.T) {
	if !(Policy{}).Empty() || (Policy{Within: Span{Hours: 1}}).Empty() {
		t.Error("Empty is wrong")
	}
}

func TestGroupBy(t *testing.T) {
	ingests := []store.Tag{{Host: "b", Source: "/x", Name: "1"}, {Host: "a", Source: "/x", Name: "2"},
		{Host: "b", Source: "/y", Name: "1"}, {Host: "b", Source: "/x", Name: "1"}}
	sizes := func(by Keys) (n []int) {
		for _, g := range GroupBy(ingests, by) {
			n = append(n, len(g.Ingests))
		}
		return n
	}
	for _, test := range []struct {
		words []string
		want  []int
	}{
		{nil, []int{4}},
		{[]string{""}, []int{4}},
		{[]string{"host"}, []int{1, 3}},
		{[]string{"source"}, []int{3, 1}},
		{[]string{"host", "source", "tag"}, []int{1, 2, 1}},
	} {
		by, err := ParseKeys(test.words)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(test.want, sizes(by)); diff != "" {
			t.Errorf("by %v (-want +got):\n%s", test.words, diff)
		}
	}
	if _, err := ParseKeys([]string{"color"}); err == nil {
		t.Error("grouped by color")
	}
}
