package store

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Directory is the contents of one directory: its nodes, strictly ascending by the bytes of their names.
//
// On the wire (castore.proto) each kind of node has a list of its own. Here they are one list, so code that walks,
// compares or writes trees sees them in the order of their names.
type Directory []Node

// MaxDepth is the maximum number of levels of a tree that is walked, the root included. A path of 4096 bytes (PATH_MAX)
// has at most 2048 levels; a much deeper tree is an attack on the stack. MaxDepth is not a rule of the format: stores
// take each directory by itself, and operations that need no path, such as gc, take any depth.
const MaxDepth = 8192

// SizeRule says how to count the size of a directory, which its parent records.
type SizeRule uint8

const (
	// SizeDocumented is the rule of the schema: the number of entries plus the sizes of the directories among them.
	SizeDocumented SizeRule = iota
	// SizeSnix counts each entry twice, as tvix (since August 2024) and snix do, contrary to their own schema.
	SizeSnix
)

// String returns "documented" or "snix", as the --size-rule flag spells them.
func (r SizeRule) String() string {
	if r == SizeSnix {
		return "snix"
	}
	return "documented"
}

// MarshalText returns the rule as String does.
func (r SizeRule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes the rule as ParseSizeRule does.
func (r *SizeRule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseSizeRule(string(text))
	return err
}

// ParseSizeRule is the inverse of SizeRule.String.
func ParseSizeRule(s string) (SizeRule, error) {
	for _, r := range []SizeRule{SizeDocumented, SizeSnix} {
		if s == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("unknown size rule %q: want documented or snix", s)
}

// Size returns the size of the directory under rule, the number that its parent records.
// A size that does not fit in 64 bits is an error.
func (dir Directory) Size(rule SizeRule) (uint64, error) {
	each := uint64(1)
	if rule == SizeSnix {
		each = 2
	}
	hi, sum := bits.Mul64(each, uint64(len(dir)))
	overflow := hi
	for i := range dir {
		if dir[i].Kind == KindDirectory {
			var carry uint64
			sum, carry = bits.Add64(sum, dir[i].Size, 0)
			overflow |= carry
		}
	}
	if overflow != 0 {
		return 0, fmt.Errorf("total size exceeds %d", uint64(math.MaxUint64))
	}
	return sum, nil
}

// Find returns the node of that name.
func (dir Directory) Find(name string) (Node, bool) {
	i, ok := slices.BinarySearchFunc(dir, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return Node{}, false
	}
	return dir[i], true
}

// Validate returns the first fault of the directory, or nil. It checks names, order, uniqueness over all kinds,
// targets, kinds, and that the size fits in 64 bits.
func (dir Directory) Validate() error {
	for i := range dir {
		n := &dir[i]
		if err := ValidateName(n.Name); err != nil {
			return err
		}
		if err := n.validateKind(); err != nil {
			return fmt.Errorf("%q: %w", clip(n.Name), err)
		}
		if i > 0 {
			if err := checkOrder(dir[i-1].Name, n.Name); err != nil {
				return err
			}
		}
	}
	_, err := dir.Size(SizeDocumented)
	return err
}

// checkOrder returns nil if name may follow prev in a list.
func checkOrder(prev, name string) error {
	switch c := strings.Compare(prev, name); {
	case c == 0:
		return fmt.Errorf("duplicate name %q", clip(name))
	case c > 0:
		return fmt.Errorf("wrong order: %q comes after %q", clip(name), clip(prev))
	}
	return nil
}

// Limits of a directory. They exist because readers hold a whole directory in memory.
const (
	MaxDirectorySize    = 128 << 20 // bytes of its message: about two million files with names of 20 bytes
	MaxDirectoryEntries = 2 << 20
)

// EncodeDirectory returns the canonical protobuf Directory message of dir. The digest of these bytes names dir.
// A directory that is invalid or beyond the limits is an error. No other function makes such bytes.
func EncodeDirectory(dir Directory) ([]byte, error) { return AppendDirectory(nil, dir) }

// AppendDirectory appends to b what EncodeDirectory returns. With an error it returns no bytes.
func AppendDirectory(b []byte, dir Directory) ([]byte, error) {
	err := dir.Validate()
	n := encodedSize(dir)
	if err == nil && (n > MaxDirectorySize || len(dir) > MaxDirectoryEntries) {
		err = fmt.Errorf("%d entries of %d bytes: a directory has at most %d entries, and %d bytes", len(dir), n, MaxDirectoryEntries, MaxDirectorySize)
	}
	if err != nil {
		return nil, fmt.Errorf("invalid directory: %w", err)
	}
	return encode(slices.Grow(b, n), dir), nil
}

// encodedSize returns how many bytes encode makes.
func encodedSize(dir Directory) (size int) {
	for i := range dir {
		n := nodeSize(dir[i])
		size += 1 + (bits.Len(uint(n)|1)+6)/7 + n
	}
	return size
}

// encode appends the message of a valid directory.
func encode(b []byte, dir Directory) []byte {
	for _, kind := range []Kind{KindDirectory, KindFile, KindSymlink} {
		for i := range dir {
			if dir[i].Kind == kind {
				b = appendNode(b, dir[i])
			}
		}
	}
	return b
}

// DecodeDirectory reads a protobuf Directory message. It checks every rule of the protocol. It refuses unknown fields,
// and any encoding but the canonical one, because the directory would get another digest when it is encoded again. The
// result does not refer to b. No other function makes a Directory from bytes.
func DecodeDirectory(b []byte) (Directory, error) {
	if len(b) > MaxDirectorySize {
		return nil, fmt.Errorf("invalid directory: %d bytes: want at most %d", len(b), MaxDirectorySize)
	}
	dir, err := decode(b)
	if err == nil {
		err = dir.Validate()
	}
	if err == nil && !bytes.Equal(encode(make([]byte, 0, len(b)), dir), b) {
		err = errNotCanonical
	}
	if err != nil {
		return nil, fmt.Errorf("invalid directory: %w", err)
	}
	return dir, nil
}

// decode reads the three lists, checks the order of each, and merges them.
func decode(b []byte) (Directory, error) {
	count := countNodes(b)
	if count > MaxDirectoryEntries {
		return nil, fmt.Errorf("more than %d entries", MaxDirectoryEntries)
	}
	var lists [KindSymlink + 1]Directory // by kind, each a part of all
	all, last := make(Directory, 0, count), KindDirectory
	for len(b) > 0 {
		num, body, rest, err := cutMessage(b)
		if err != nil {
			return nil, err
		}
		kind := Kind(num)
		if kind < last {
			return nil, errNotCanonical
		}
		n, err := decodeNode(kind, body)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", clip(n.Name), err)
		}
		before := lists[kind]
		if len(before) > 0 {
			if err := checkOrder(before[len(before)-1].Name, n.Name); err != nil {
				return nil, err
			}
		}
		all = append(all, n)
		lists[kind], last, b = all[len(all)-1-len(before):], kind, rest
	}
	if len(lists[last]) == len(all) {
		return all, nil // one kind only: already in order
	}
	return merge(lists[:]), nil
}

// merge merges lists, each in order, into one. A name that is in two lists comes out twice in a row.
func merge(lists []Directory) Directory {
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	out := make(Directory, 0, total)
	for len(out) < total {
		least := -1
		for i, l := range lists {
			if len(l) > 0 && (least < 0 || l[0].Name < lists[least][0].Name) {
				least = i
			}
		}
		out = append(out, lists[least][0])
		lists[least] = lists[least][1:]
	}
	return out
}

// minNodeLen is the length of the shortest node message: a symlink with a name and a target of one byte each.
const minNodeLen = 6

// countNodes returns how many nodes b holds. It stops at the first invalid one, and at one more than a directory may
// have. So decode reserves no more memory for a hostile message than for a valid one of the same length. decode reports
// what is wrong.
func countNodes(b []byte) int {
	n := 0
	for len(b) > 0 && n <= MaxDirectoryEntries {
		_, body, rest, err := cutMessage(b)
		if err != nil || len(body) < minNodeLen {
			break
		}
		b = rest
		n++
	}
	return n
}
