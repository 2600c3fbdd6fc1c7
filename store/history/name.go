package history

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"castar/store"
)

// Name names one recorded ingest, in one of three forms:
//
//	TAG~N      the Nth ingest with this tag before the last; TAG~0 is the last
//	TAG@DATE   the newest ingest with this tag on or before the date
//	@N         line N of the log, whose line 1 is the newest ingest
//
// A DATE is 2026, 2026-11, 2026-11-01, 2026-11-01T1530 or 2026-11-01T153000, in local time. It has no colon, because a
// colon ends a root on the command line. A year, a month, a day and a minute last until they end.
type Name struct {
	tag   string
	nth   int       // from the newest, from 0
	until time.Time // if not zero, only ingests before this count
}

// ParseName reads a Name. It reports false if text has none of the forms, as most names of tags do. A tag is not
// validated.
func ParseName(text string) (Name, bool) {
	if digits, ok := strings.CutPrefix(text, "@"); ok {
		n, ok := count(digits)
		return Name{nth: n - 1}, ok && n > 0
	}
	if tag, digits, ok := cutLast(text, '~'); ok {
		if n, ok := count(digits); ok {
			return Name{tag: tag, nth: n}, true
		}
	}
	if tag, date, ok := cutLast(text, '@'); ok {
		if until, ok := endOf(date); ok {
			return Name{tag: tag, until: until}, true
		}
	}
	return Name{}, false
}

// cutLast cuts text at its last sep, which is not at its beginning.
func cutLast(text string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, sep)
	if i <= 0 {
		return "", "", false
	}
	return text[:i], text[i+1:], true
}

// count reads a number without a sign.
func count(digits string) (int, bool) {
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), err == nil
}

// endOf returns the moment at which a date has passed.
func endOf(date string) (time.Time, bool) {
	for _, form := range []struct {
		layout              string
		years, months, days int
		rest                time.Duration
	}{
		{"2006", 1, 0, 0, 0},
		{"2006-01", 0, 1, 0, 0},
		{"2006-01-02", 0, 0, 1, 0},
		{"2006-01-02T1504", 0, 0, 0, time.Minute},
		{"2006-01-02T150405", 0, 0, 0, time.Second},
	} {
		if t, err := time.ParseInLocation(form.layout, date, time.Local); err == nil {
			return t.AddDate(form.years, form.months, form.days).Add(form.rest), true
		}
	}
	return time.Time{}, false
}

// Find returns the ingest that n names among all that were recorded, oldest first. The error is store.ErrNotFound if there
// is none, and says how many there are.
func (n Name) Find(ingests []store.Tag) (store.Tag, error) {
	left, seen := n.nth, 0
	for i := len(ingests) - 1; i >= 0; i-- {
		t := ingests[i]
		if n.tag != "" && t.Name != n.tag {
			continue
		}
		seen++
		if !n.until.IsZero() && !t.Time.Before(n.until) {
			continue
		}
		if left == 0 {
			return t, nil
		}
		left--
	}
	return store.Tag{}, fmt.Errorf("%s: %w", n.lack(seen), store.ErrNotFound)
}

// lack says why no ingest was found among the seen ones.
func (n Name) lack(seen int) string {
	s := "s"
	if seen == 1 {
		s = ""
	}
	switch {
	case n.tag == "":
		return fmt.Sprintf("the log has %d line%s", seen, s)
	case seen == 0:
		return fmt.Sprintf("the log has no ingest with the tag %s", n.tag)
	case !n.until.IsZero():
		return fmt.Sprintf("the log has %d ingest%s with the tag %s, all of them later", seen, s, n.tag)
	}
	return fmt.Sprintf("the log has %d ingest%s with the tag %s", seen, s, n.tag)
}
