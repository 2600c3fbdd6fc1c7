package store

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WalkByGet implements Directories.Walk with Get alone, breadth first, for stores that have nothing better.
func WalkByGet(ctx context.Context, ds Directories, root Digest) iter.Seq2[NamedDirectory, error] {
	return func(yield func(NamedDirectory, error) bool) {
		queue := []Digest{root}
		seen := map[Digest]struct{}{root: {}}
		for len(queue) > 0 {
			d := queue[0]
			queue = queue[1:]
			dir, err := ds.Get(ctx, d)
			if err != nil {
				yield(NamedDirectory{Digest: d}, fmt.Errorf("directory %s: %w", d, err))
				return
			}
			if !yield(NamedDirectory{d, dir}, nil) {
				return
			}
			for i := range dir {
				if _, ok := seen[dir[i].Digest]; dir[i].Kind == KindDirectory && !ok {
					seen[dir[i].Digest] = struct{}{}
					queue = append(queue, dir[i].Digest)
				}
			}
		}
	}
}

// UploadByPut implements Directories.Upload with Put alone, for stores in which a directory needs nothing around it.
func UploadByPut(ds Directories) DirectoryWriter { return putWriter{ds} }

type putWriter struct{ ds Directories }

func (w putWriter) Put(ctx context.Context, dir Directory) (Digest, error) { return w.ds.Put(ctx, dir) }
func (w putWriter) Commit(context.Context, Digest) error                   { return nil }
func (w putWriter) Close() error                                           { return nil }

// ValidateTag reports why name cannot name a tag, or nil. A tag is 1 to 255 bytes of printable UTF-8 without space,
// colon (which ends a root on the command line) or backslash; its parts between slashes follow the rules of file names;
// it begins with no dash; and it cannot be read as a digest or the prefix of one.
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

// MinPrefixLen is the number of hexadecimal digits that a shortened digest must at least have.
const MinPrefixLen = 8

// IsDigestPrefix reports whether s could be a whole or shortened digest in hexadecimal.
func IsDigestPrefix(s string) bool {
	return len(s) >= MinPrefixLen && len(s) <= 2*DigestSize && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
