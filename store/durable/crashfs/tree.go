package crashfs

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tree is the files and folders of an FS by number; 0 is the folder itself. Trees share nodes. A tree changes only
// nodes with its own token, and copies others first.
type tree struct {
	token *token
	nodes []*node
}

// token is an identity. It is not empty, because pointers to distinct variables of size zero may be equal.
type token struct{ _ byte }

// node is a file or folder. A node without a name stays in the tree, because a crash may bring it back.
type node struct {
	token   *token
	dir     bool
	data    []byte         // of a file; its bytes never change in place
	entries map[string]int // of a folder
}

// clone returns a copy that shares all nodes with t. t itself must not change afterwards.
func (t *tree) clone() tree {
	return tree{token: new(token), nodes: slices.Clone(t.nodes)}
}

// own returns node id for changing, and copies it first if it is shared.
func (t *tree) own(id int) *node {
	n := t.nodes[id]
	if n.token != t.token {
		n = &node{token: t.token, dir: n.dir, data: slices.Clip(n.data), entries: maps.Clone(n.entries)}
		t.nodes[id] = n
	}
	return n
}

// add adds a node without a name. Numbers are given in order.
func (t *tree) add(dir bool) {
	n := &node{token: t.token, dir: dir}
	if dir {
		n.entries = map[string]int{}
	}
	t.nodes = append(t.nodes, n)
}

func (t *tree) link(dir int, name string, id int) { t.own(dir).entries[path.Base(name)] = id }
func (t *tree) unlink(dir int, name string)       { delete(t.own(dir).entries, path.Base(name)) }

// write writes data at off, and zeros between the end of the file and off.
func (t *tree) write(id int, off int64, data []byte) {
	n := t.own(id)
	if off == int64(len(n.data)) {
		n.data = append(n.data, data...)
		return
	}
	b := make([]byte, max(len(n.data), int(off)+len(data)))
	copy(b, n.data)
	copy(b[off:], data)
	n.data = b
}

// extend makes a file at least size bytes long, and fills it with zeros.
func (t *tree) extend(id int, size int64) {
	if n := t.own(id); size > int64(len(n.data)) {
		n.data = append(n.data, make([]byte, size-int64(len(n.data)))...)
	}
}

// apply makes a change.
func (t *tree) apply(op Op) {
	switch op.Kind {
	case Create, Mkdir:
		t.add(op.Kind == Mkdir)
		t.link(op.dir, op.Name, op.id)
	case Write:
		t.write(op.id, op.Off, op.data)
	case Rename:
		t.unlink(op.dir, op.Name)
		t.link(op.toDir, op.To, op.id)
	case Remove:
		t.unlink(op.dir, op.Name)
	}
}

// find returns the number of a name. The error is ENOENT or ENOTDIR.
func (t *tree) find(name string) (int, error) {
	id := 0
	if name == "." {
		return id, nil
	}
	for elem := range strings.SplitSeq(name, "/") {
		n := t.nodes[id]
		if !n.dir {
			return 0, syscall.ENOTDIR
		}
		var ok bool
		if id, ok = n.entries[elem]; !ok {
			return 0, syscall.ENOENT
		}
	}
	return id, nil
}

func (t *tree) findDir(name string) (int, error) {
	id, err := t.find(name)
	if err == nil && !t.nodes[id].dir {
		err = syscall.ENOTDIR
	}
	return id, err
}

// replaceable returns nil if a rename of id may replace target, and otherwise says why not.
func (t *tree) replaceable(id, target int) error {
	switch {
	case t.nodes[target].dir:
		return syscall.EEXIST
	case t.nodes[id].dir:
		return syscall.ENOTDIR
	}
	return nil
}

// names returns the names in a folder, in order.
func (t *tree) names(id int) []string { return slices.Sorted(maps.Keys(t.nodes[id].entries)) }

// walk calls visit for every file and folder below a folder, in order of names within each.
func (t *tree) walk(id int, name string, visit func(name string, id int)) {
	for _, base := range t.names(id) {
		child, childName := t.nodes[id].entries[base], path.Join(name, base)
		visit(childName, child)
		t.walk(child, childName, visit)
	}
}

func (t *tree) stat(name string, id int) fs.FileInfo {
	n := t.nodes[id]
	return info{name: name, size: int64(len(n.data)), dir: n.dir}
}

// info is the fs.FileInfo of a node.
type info struct {
	name string
	size int64
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
