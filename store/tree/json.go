package tree

import "castar/store"

// JSONNode is what JSON says of a node, in every command and page that shows one.
type JSONNode struct {
	Kind         string  `json:"kind" help:"directory, file or symlink"`
	Size         uint64  `json:"size" help:"the old name of bytes and entries_below"`
	Bytes        *uint64 `json:"bytes,omitempty" help:"of a file"`
	EntriesBelow *uint64 `json:"entries_below,omitempty" help:"of a directory: all of them, as recorded"`
	Executable   bool    `json:"executable,omitempty"` // of a file
	Digest       string  `json:"digest,omitempty"`     // 64 hexadecimal digits; a symlink has none
	Target       string  `json:"target,omitempty"`     // of a symlink
	TargetBase64 string  `json:"target_base64,omitempty"`
}

// NewJSONNode returns what JSON says of n.
func NewJSONNode(n store.Node) JSONNode {
	j := JSONNode{Kind: n.Kind.String(), Size: n.Size, Executable: n.Executable}
	switch n.Kind {
	case store.KindSymlink:
		j.Target, j.TargetBase64 = store.JSONName(n.Target)
		return j
	case store.KindFile:
		j.Bytes = &n.Size
	default:
		j.EntriesBelow = &n.Size
	}
	j.Digest = n.Digest.String()
	return j
}

// JSONChange is what JSON says of a change.
type JSONChange struct {
	Op         string    `json:"op" help:"the letter"`
	Path       string    `json:"path"`
	PathBase64 string    `json:"path_base64,omitempty"`
	From       string    `json:"from,omitempty" help:"of R"`
	FromBase64 string    `json:"from_base64,omitempty"`
	Old        *JSONNode `json:"old,omitempty"`
	New        *JSONNode `json:"new,omitempty" help:"the same fields"`
}

// NewJSONChange returns what JSON says of c.
func NewJSONChange(c *Change) JSONChange {
	j := JSONChange{Op: string(c.Op)}
	j.Path, j.PathBase64 = store.JSONName(c.Path)
	j.From, j.FromBase64 = store.JSONName(c.From)
	if c.Old.Kind != 0 {
		j.Old = new(NewJSONNode(c.Old))
	}
	if c.New.Kind != 0 {
		j.New = new(NewJSONNode(c.New))
	}
	return j
}
