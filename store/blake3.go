package store

import (
	"math/bits"

	"lukechampine.com/blake3/guts"
)

// BLAKE3 hashes chunks of 1 KiB and joins their chaining values in a binary tree. Every left subtree is a power of two
// chunks. The kernels of guts hash 16 chunks side by side, so the unit here is a group of 16. The node of a group is
// computed straight from the caller's bytes; only the tree above the groups is built here.
//
// One goroutine hashes one input and allocates nothing. To use several cores, hash several inputs at a time, or prepare
// parts of a long one: see Part.
const groupSize = guts.MaxSIMD * guts.ChunkSize

// Sum returns the BLAKE3-256 digest of b.
func Sum(b []byte) Digest {
	switch {
	case len(b) <= guts.ChunkSize:
		return rootDigest(guts.CompressChunk(b, &guts.IV, 0, 0))
	case len(b) <= groupSize:
		return rootDigest(groupNode(b, 0))
	}
	return sumGroups(b)
}

// sumGroups is Sum for more than one group.
func sumGroups(b []byte) Digest {
	var t tree
	t.addGroups(b[:len(b)-len(b)%groupSize])
	if rest := len(b) % groupSize; rest > 0 {
		t.add(groupNode(b[len(b)-rest:], t.groups))
	}
	return t.digest()
}

// Hasher computes the digest of bytes as they come. The zero value is ready to use. It is not for concurrent use. It
// holds a buffer of 16 KiB; writes that begin and end at multiples of that length are not copied.
type Hasher struct {
	tree tree
	n    int // bytes in buf, less than groupSize
	buf  [groupSize]byte
}

// Write adds p to the input. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	written := len(p)
	if h.n > 0 {
		k := copy(h.buf[h.n:], p)
		h.n += k
		p = p[k:]
		if h.n < groupSize {
			return written, nil
		}
		h.tree.addGroups(h.buf[:])
	}
	whole := len(p) - len(p)%groupSize
	h.tree.addGroups(p[:whole])
	h.n = copy(h.buf[:], p[whole:])
	return written, nil
}

// Part is a part of a long input. Most of it is already hashed, independently of what comes before it.
type Part struct {
	data  []byte
	head  int         // bytes before the first whole group
	nodes []guts.Node // of the whole groups

	fetched byte // as in tree
}

// NewPart hashes a part of an input, as far as that does not depend on the other parts. offset is where in the input data
// begins. It keeps data. Parts of one input may be made at the same time.
func NewPart(data []byte, offset uint64) Part {
	p := Part{data: data, head: int(-offset % groupSize)}
	if len(data) < p.head+groupSize {
		return p
	}
	groups := data[p.head:]
	p.nodes = make([]guts.Node, len(groups)/groupSize)
	for i := range p.nodes {
		group := (*[groupSize]byte)(groups[i*groupSize:])
		p.fetched |= fetch(group)
		counter := (offset + uint64(p.head)) / guts.ChunkSize
		p.nodes[i] = guts.CompressBuffer(group, groupSize, &guts.IV, counter+uint64(i)*guts.MaxSIMD, 0)
	}
	return p
}

// WritePart does what Write does. The offset of the part must be the number of bytes written before.
func (h *Hasher) WritePart(p Part) {
	if len(p.nodes) == 0 {
		h.Write(p.data)
		return
	}
	h.Write(p.data[:p.head])
	for i := range p.nodes {
		h.tree.add(p.nodes[i])
	}
	h.Write(p.data[p.head+len(p.nodes)*groupSize:])
}

// Sum returns the digest of all bytes written since the last Reset. It does not change the state.
func (h *Hasher) Sum() Digest {
	if h.tree.groups == 0 {
		return rootDigest(bufferNode(&h.buf, h.n, 0))
	}
	if h.n == 0 {
		return h.tree.digest()
	}
	t := h.tree
	t.add(bufferNode(&h.buf, h.n, t.groups))
	return t.digest()
}

// Reset returns the Hasher to its initial state.
func (h *Hasher) Reset() {
	h.tree.groups = 0
	h.n = 0
}

// tree joins the nodes of successive groups. It keeps the last node apart, because what that becomes depends on whether
// another follows. The nodes before it are a binary counter: one complete subtree for each set bit of groups-1.
type tree struct {
	groups   uint64        // all of them but the last one full
	last     guts.Node     // of the last group, if groups > 0
	subtrees [50][8]uint32 // enough for 2^64 bytes
	fetched  byte          // keeps the compiler from leaving fetch out
}

// add appends the node of the next group.
func (t *tree) add(n guts.Node) {
	if t.groups > 0 {
		before := t.groups - 1
		top := bits.OnesCount64(before)
		cv := guts.ChainingValue(t.last)
		for ; before&1 != 0; before >>= 1 {
			top--
			cv = guts.ChainingValue(guts.ParentNode(t.subtrees[top], cv, &guts.IV, 0))
		}
		t.subtrees[top] = cv
	}
	t.last = n
	t.groups++
}

// addGroups appends b, which holds any number of full groups.
func (t *tree) addGroups(b []byte) {
	for ; len(b) > 0; b = b[groupSize:] {
		group := (*[groupSize]byte)(b)
		t.fetched |= fetch(group)
		t.add(guts.CompressBuffer(group, groupSize, &guts.IV, t.groups*guts.MaxSIMD, 0))
	}
}

// fetch reads a byte of every cache line of a group. The kernels read 16 streams, which the processor does not predict.
// Bytes that are not in its caches, such as those of mapped files, are hashed a third faster after fetch.
func fetch(group *[groupSize]byte) (x byte) {
	for i := 0; i < groupSize; i += 512 {
		lines := (*[512]byte)(group[i:])
		x |= lines[0] | lines[64] | lines[128] | lines[192] | lines[256] | lines[320] | lines[384] | lines[448]
	}
	return x
}

// digest returns the digest of all that was added, which is at least one group. It does not change t.
func (t *tree) digest() Digest {
	n := t.last
	for top := bits.OnesCount64(t.groups - 1); top > 0; top-- {
		n = guts.ParentNode(t.subtrees[top-1], guts.ChainingValue(n), &guts.IV, 0)
	}
	return rootDigest(n)
}

// scalarSize is the length up to which it is faster to hash chunks one by one than 16 at a time, most of them empty.
const scalarSize = 2 * guts.ChunkSize

// groupNode returns the node of the group b, which is at most groupSize long.
func groupNode(b []byte, group uint64) guts.Node {
	switch {
	case len(b) <= scalarSize:
		return scalarNode(b, group)
	case len(b) == groupSize:
		return bufferNode((*[groupSize]byte)(b), groupSize, group)
	}
	var buf [groupSize]byte
	copy(buf[:], b)
	return bufferNode(&buf, len(b), group)
}

// bufferNode returns the node of the group that is the first n bytes of buf. The kernels read the rest of buf, too, but
// it does not matter.
func bufferNode(buf *[groupSize]byte, n int, group uint64) guts.Node {
	if n <= scalarSize {
		return scalarNode(buf[:n], group)
	}
	return guts.CompressBuffer(buf, n, &guts.IV, group*guts.MaxSIMD, 0)
}

// scalarNode returns the node of a group of one or two chunks.
func scalarNode(b []byte, group uint64) guts.Node {
	counter := group * guts.MaxSIMD
	if len(b) <= guts.ChunkSize {
		return guts.CompressChunk(b, &guts.IV, counter, 0)
	}
	left := guts.ChainingValue(guts.CompressChunk(b[:guts.ChunkSize], &guts.IV, counter, 0))
	right := guts.ChainingValue(guts.CompressChunk(b[guts.ChunkSize:], &guts.IV, counter+1, 0))
	return guts.ParentNode(left, right, &guts.IV, 0)
}

// rootDigest returns the digest of an input whose whole tree is n.
func rootDigest(n guts.Node) Digest {
	n.Flags |= guts.FlagRoot
	out := guts.WordsToBytes(guts.CompressNode(n))
	return Digest(out[:DigestSize])
}
