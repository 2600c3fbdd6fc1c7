package store

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of the castore data model, in bytes.
const (
	MaxNameLen   = 255  // of a name in a directory
	MaxTargetLen = 4095 // of a symlink's target
)

// Kind says what a Node is. The values are the field numbers of the schema's Node message.
type Kind uint8

// The three kinds of node that castore knows.
const (
	KindDirectory Kind = 1
	KindFile      Kind = 2
	KindSymlink   Kind = 3
)

// String returns "directory", "file" or "symlink".
func (k Kind) String() string {
	switch k {
	case KindDirectory:
		return "directory"
	case KindFile:
		return "file"
	case KindSymlink:
		return "symlink"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Node is an entry of a directory or, with an empty name, a root: the top of an archive.
// Fields that its kind does not have are zero.
type Node struct {
	Name       string // raw bytes, not always UTF-8
	Target     string // symlink: its target, raw bytes
	Digest     Digest // directory: of its message; file: of its contents
	Size       uint64 // directory: see SizeRule; file: its length in bytes
	Kind       Kind
	Executable bool // file: its owner may execute it
}

// ValidateName reports why name is not allowed in a directory, or nil.
// The checks are in the order of the protocol, so all implementations name the same reason.
func ValidateName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "empty"
	case name == "..":
		reason = "is .."
	case name == ".":
		reason = "is ."
	case len(name) > MaxNameLen:
		reason = fmt.Sprintf("longer than %d bytes", MaxNameLen)
	case strings.IndexByte(name, 0) >= 0:
		reason = "contains a NUL byte"
	case strings.IndexByte(name, '/') >= 0:
		reason = "contains a slash"
	default:
		return nil
	}
	return fmt.Errorf("invalid name %q: %s", clip(name), reason)
}

// ValidateTarget reports why target is not allowed as the target of a symlink, or nil.
func ValidateTarget(target string) error {
	reason := ""
	switch {
	case target == "":
		reason = "empty"
	case len(target) > MaxTargetLen:
		reason = fmt.Sprintf("longer than %d bytes", MaxTargetLen)
	case strings.IndexByte(target, 0) >= 0:
		reason = "contains a NUL byte"
	default:
		return nil
	}
	return fmt.Errorf("invalid target %q of a symbolic link: %s", clip(target), reason)
}

// clip shortens a name, so that a hostile one cannot fill the screen.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// Validate reports what is wrong with a root, or nil. A root has no name and a known kind.
func (n Node) Validate() error {
	if n.Name != "" {
		return fmt.Errorf("a root has no name, this one has %q", clip(n.Name))
	}
	return n.validateKind()
}

// validateKind checks everything but the name.
func (n Node) validateKind() error {
	switch n.Kind {
	case KindDirectory, KindFile:
		return nil
	case KindSymlink:
		return ValidateTarget(n.Target)
	}
	return fmt.Errorf("unknown kind %d", n.Kind)
}

// RootDigest returns the digest that stands for a root in print. It is the digest of a directory or of a file's
// contents. A symlink has no digest of its own, so it is that of its encoded Node message.
func (n Node) RootDigest() (Digest, error) {
	if n.Kind != KindSymlink {
		return n.Digest, n.Validate()
	}
	b, err := EncodeNode(n)
	return Sum(b), err
}

// EncodeNode returns the canonical protobuf Node message of a root.
func EncodeNode(n Node) ([]byte, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	return appendNode(nil, n), nil
}

// DecodeNode reads a root from its protobuf Node message. It accepts only the canonical encoding of a valid root.
func DecodeNode(b []byte) (Node, error) {
	if len(b) == 0 {
		return Node{}, errors.New("invalid root: no node set")
	}
	kind, body, rest, err := cutMessage(b)
	if err != nil {
		return Node{}, fmt.Errorf("invalid root: %w", err)
	}
	if len(rest) > 0 {
		return Node{}, errors.New("invalid root: more than one node")
	}
	n, err := decodeNode(Kind(kind), body)
	if err == nil {
		err = n.Validate()
	}
	if err == nil && string(appendNode(nil, n)) != string(b) {
		err = errNotCanonical
	}
	if err != nil {
		return Node{}, fmt.Errorf("invalid root: %w", err)
	}
	return n, nil
}

// errNotCanonical is the error of a message that would encode to other bytes, and so to another digest.
var errNotCanonical = errors.New("encoding is not canonical")

// cutMessage splits the first field off b. The field must be a nested message.
func cutMessage(b []byte) (num protowire.Number, body, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, nil, nil, protowire.ParseError(n)
	}
	if num < 1 || num > 3 || typ != protowire.BytesType {
		return 0, nil, nil, fmt.Errorf("unknown field %d of wire type %d", num, typ)
	}
	body, m := protowire.ConsumeBytes(b[n:])
	if m < 0 {
		return 0, nil, nil, protowire.ParseError(m)
	}
	return num, body, b[n+m:], nil
}

// Field numbers of DirectoryNode, FileNode and SymlinkNode (castore.proto).
const (
	fieldName       = 1
	fieldDigest     = 2 // SymlinkNode: target
	fieldSize       = 3
	fieldExecutable = 4
)

// appendNode appends n as a field with the number of its kind, a form that Node and Directory share.
func appendNode(b []byte, n Node) []byte {
	b = protowire.AppendTag(b, protowire.Number(n.Kind), protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(nodeSize(n)))
	if n.Name != "" {
		b = protowire.AppendTag(b, fieldName, protowire.BytesType)
		b = protowire.AppendString(b, n.Name)
	}
	if n.Kind == KindSymlink {
		b = protowire.AppendTag(b, fieldDigest, protowire.BytesType)
		return protowire.AppendString(b, n.Target)
	}
	b = protowire.AppendTag(b, fieldDigest, protowire.BytesType)
	b = protowire.AppendBytes(b, n.Digest[:])
	if n.Size != 0 {
		b = protowire.AppendTag(b, fieldSize, protowire.VarintType)
		b = protowire.AppendVarint(b, n.Size)
	}
	if n.Executable {
		b = protowire.AppendTag(b, fieldExecutable, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// nodeSize returns the length of the nested message that appendNode writes.
func nodeSize(n Node) int {
	size := 0
	if n.Name != "" {
		size += 1 + protowire.SizeBytes(len(n.Name))
	}
	if n.Kind == KindSymlink {
		return size + 1 + protowire.SizeBytes(len(n.Target))
	}
	size += 1 + protowire.SizeBytes(DigestSize)
	if n.Size != 0 {
		size += 1 + protowire.SizeVarint(n.Size)
	}
	if n.Executable {
		size += 2
	}
	return size
}

// decodeNode reads a nested node message. It checks types, lengths and unknown fields. Its callers check the rest.
func decodeNode(kind Kind, b []byte) (n Node, err error) {
	n.Kind = kind
	sawDigest := false
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		if k < 0 {
			return n, protowire.ParseError(k)
		}
		b = b[k:]
		var raw []byte
		var value uint64
		switch typ {
		case protowire.BytesType:
			raw, k = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			value, k = protowire.ConsumeVarint(b)
		default:
			return n, fmt.Errorf("unknown field %d of wire type %d", num, typ)
		}
		if k < 0 {
			return n, protowire.ParseError(k)
		}
		b = b[k:]
		switch {
		case num == fieldName && typ == protowire.BytesType:
			n.Name = string(raw)
		case num == fieldDigest && typ == protowire.BytesType && kind == KindSymlink:
			n.Target = string(raw)
		case num == fieldDigest && typ == protowire.BytesType:
			sawDigest = true
			if n.Digest, err = DigestFromBytes(raw); err != nil {
				return n, err
			}
		case num == fieldSize && typ == protowire.VarintType && kind != KindSymlink:
			n.Size = value
		case num == fieldExecutable && typ == protowire.VarintType && kind == KindFile:
			n.Executable = value != 0
		default:
			return n, fmt.Errorf("unknown field %d of wire type %d", num, typ)
		}
	}
	if kind != KindSymlink && !sawDigest {
		return n, fmt.Errorf("invalid digest length 0, want %d", DigestSize)
	}
	return n, nil
}
