package store

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// DigestSize is the length of a Digest in bytes.
const DigestSize = 32

// Digest is the BLAKE3-256 hash that names a blob, a chunk or a directory.
type Digest [DigestSize]byte

// Prefixes of the two text forms that carry standard, padded base64:
// snix prints the first, tvix the second (castore protocol).
const (
	snixPrefix = "blake3-"
	tvixPrefix = "b3:"
)

// base64TextLen is the number of characters of a digest in standard, padded base64.
const base64TextLen = 44

// String returns the digest as 64 lower-case hexadecimal digits, as b3sum prints it.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Snix returns the digest as snix prints it, blake3-<base64>.
func (d Digest) Snix() string { return snixPrefix + base64.StdEncoding.EncodeToString(d[:]) }

// MarshalText returns what String returns. It never fails.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads any of the forms that ParseDigest takes.
func (d *Digest) UnmarshalText(text []byte) error {
	p, err := ParseDigest(string(text))
	if err == nil {
		*d = p
	}
	return err
}

// ParseDigest reads a whole digest: 64 hexadecimal digits of either case, blake3-<base64> or b3:<base64>.
func ParseDigest(s string) (Digest, error) {
	d, rest, err := CutDigest(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("invalid digest %q: %d characters too many", s, len(rest))
	}
	return d, err
}

// CutDigest reads the digest that s begins with, in any form that ParseDigest takes, and returns it and the rest of s.
// Callers need it because one of the forms contains a colon, which otherwise ends a root.
func CutDigest(s string) (d Digest, rest string, err error) {
	for _, prefix := range []string{snixPrefix, tvixPrefix} {
		body, ok := strings.CutPrefix(s, prefix)
		if !ok {
			continue
		}
		if len(body) < base64TextLen {
			return d, "", fmt.Errorf("invalid digest %q: want %d characters of base64 after %q", s, base64TextLen, prefix)
		}
		b, err := base64.StdEncoding.Strict().DecodeString(body[:base64TextLen])
		if err != nil || len(b) != DigestSize {
			return d, "", fmt.Errorf("invalid digest %q: not the base64 of %d bytes", s, DigestSize)
		}
		return Digest(b), body[base64TextLen:], nil
	}
	if len(s) < 2*DigestSize {
		return d, "", fmt.Errorf("invalid digest %q: want %d hexadecimal digits", s, 2*DigestSize)
	}
	if _, err := hex.Decode(d[:], []byte(s[:2*DigestSize])); err != nil {
		return Digest{}, "", fmt.Errorf("invalid digest %q: %w", s, err)
	}
	return d, s[2*DigestSize:], nil
}

// DigestFromBytes copies a raw digest from a message. Any length but DigestSize is an error.
func DigestFromBytes(b []byte) (Digest, error) {
	if len(b) != DigestSize {
		return Digest{}, fmt.Errorf("invalid digest length %d, want %d", len(b), DigestSize)
	}
	return Digest(b), nil
}

// MinPrefixLen is the minimum number of hexadecimal digits of a shortened digest.
const MinPrefixLen = 8

// IsDigestPrefix reports whether s looks like a whole or shortened digest in hexadecimal.
func IsDigestPrefix(s string) bool {
	return len(s) >= MinPrefixLen && len(s) <= 2*DigestSize && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
