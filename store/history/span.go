package history

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
