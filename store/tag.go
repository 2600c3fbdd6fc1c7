package store

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Tag is a name for a root, with facts about the ingest that made it.
type Tag struct {
	Name    string
	Root    Node      // without a name of its own
	Time    time.Time // the end of the ingest
	Source  string    // the ingested path, raw bytes
	Host    string    // the name of the machine, UTF-8, or ""
	Comment string    // the user's words, UTF-8, or ""
	Version string    // of the castar that made the ingest, UTF-8, or ""
	Seconds float64   // how long the ingest took, or 0
	Listing Digest    // the blob with modes, owners and times, see package listing, or zero
	Counts  Counts
	// Extra is the fields that another version of castar gave the tag, as a JSON object, or "". A store keeps them.
	Extra string
}

// Validate reports why t, as a line of the log or as a tag, cannot be stored, or nil. The name is up to ValidateTag.
func (t *Tag) Validate() error {
	for _, text := range []struct{ what, value string }{{"host", t.Host}, {"comment", t.Comment}, {"version", t.Version}} {
		if !utf8.ValidString(text.value) {
			return fmt.Errorf("%s %q is not UTF-8", text.what, clip(text.value))
		}
	}
	if t.Seconds < 0 || math.IsNaN(t.Seconds) || math.IsInf(t.Seconds, 0) {
		return fmt.Errorf("%v seconds is not a duration", t.Seconds)
	}
	return t.Root.Validate()
}

// AmongTags returns a function that reports whether a tag is equal to one of tags. Times are equal if they are the same
// instant.
func AmongTags(tags []Tag) func(Tag) bool {
	known := make(map[Tag]struct{}, len(tags))
	instant := func(t Tag) Tag {
		t.Time = t.Time.Round(0).UTC() // without a clock reading and a zone
		return t
	}
	for _, t := range tags {
		known[instant(t)] = struct{}{}
	}
	return func(t Tag) bool {
		_, ok := known[instant(t)]
		return ok
	}
}

// Counts is how much an ingest found.
type Counts struct {
	Files       uint64 `json:"files"`
	Directories uint64 `json:"directories"`
	Symlinks    uint64 `json:"symlinks"`
	Bytes       uint64 `json:"bytes"` // of file contents, before deduplication and compression
}

// ValidateTag reports why name cannot name a tag, or nil. A tag is 1 to 255 bytes of printable UTF-8. It has no space,
// no backslash, and no colon, which ends a root on the command line. Its parts between slashes follow the rules of file
// names. It does not begin with a dash, and it does not read like a digest or the prefix of one.
func ValidateTag(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "empty"
	case len(name) > MaxNameLen:
		reason = fmt.Sprintf("longer than %d bytes", MaxNameLen)
	case !utf8.ValidString(name):
		reason = "not UTF-8"
	case strings.HasPrefix(name, "-"):
		reason = "begins with a dash"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(" :\\", r) }):
		reason = "contains a space, a colon, a backslash or an unprintable character"
	case strings.HasPrefix(name, snixPrefix) || IsDigestPrefix(name):
		reason = "reads like a digest"
	default:
		for part := range strings.SplitSeq(name, "/") {
			if err := ValidateName(part); err != nil {
				return fmt.Errorf("invalid tag %q: %w", clip(name), err)
			}
		}
		return nil
	}
	return fmt.Errorf("invalid tag %q: %s", clip(name), reason)
}
