package store

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Tag is a name for a root, with facts about the ingest that made it.
type Tag struct {
	Name   string
	Root   Node      // without a name of its own
	Time   time.Time // the end of the ingest
	Source string    // the ingested path, raw bytes
	Host   string    // the name of the machine, or ""
	Counts Counts
	// Extra is the fields that another version of castar gave the tag, as a JSON object, or "". A store keeps them.
	Extra string
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
