package rpc

import (
	"cmp"
	"container/list"
	"sync"

	"castar/store"
)

const (
	// groupsSize is how many bytes of groups are kept, as they came or decoded: those that the goroutines of an export are in,
	// and as many as come while they are written.
	groupsSize = 64 << 20
	// memberCost is what a blob in a group takes in memory besides its bytes.
	memberCost = 200
)

// keptGroups is groups that are kept, in the order in which they are forgotten if there are too many. groups.mu guards it.
type keptGroups struct {
	members map[store.Digest]member
	lists   [groupStates]*list.List // of *keptGroup, those used last first
	bytes   int                     // what all groups cost
	unread  int                     // what those cost that nobody has read from
	lost    recent[struct{}]        // blobs that were forgotten although they are expected to be read
}

// groupState is how much of a group was read. Groups are forgotten in this order.
type groupState int

const (
	groupRead   groupState = iota // all of its blobs were, and none is expected to be read again
	groupPacked                   // some were; what it decodes to was forgotten
	groupOpen                     // some were
	groupUnread                   // nothing was
	groupStates
)

// notMet is how often a member is due that nobody has read or expected so far.
const notMet = -1

// member is where a blob is in a group. The zero value is in none.
type member struct {
	group          *keptGroup
	number, offset int
}

// keptGroup is a group that came from the server. All but raw and what follows it is constant.
type keptGroup struct {
	members  []store.Chunk
	single   bool   // a blob that was read by itself, so how it is stored is not known
	size     int    // of what it decodes to
	frame    []byte // nil: it came decoded
	decoding sync.Mutex

	raw   []byte // what it decodes to, or nil
	state groupState
	at    *list.Element // nil: it is not kept
	due   []int32       // how often each member is expected to be read; negative: nobody has read or expected it so far
	left  int           // how many members are due, or may be
}

// cost is what the group counts towards groupsSize.
func (h *keptGroup) cost() int { return len(h.frame) + len(h.raw) + memberCost*len(h.members) }

func (k *keptGroups) init() {
	k.members = map[store.Digest]member{}
	for i := range k.lists {
		k.lists[i] = list.New()
	}
}

// insert keeps a group. due says how often a blob is expected to be read.
func (k *keptGroups) insert(h *keptGroup, due func(store.Digest) int32) {
	h.due = make([]int32, len(h.members))
	offset := 0
	for i := range h.members {
		d := h.members[i].Digest
		if k.members[d].group != h {
			h.left++
			h.due[i] = cmp.Or(due(d), notMet)
		}
		k.members[d] = member{h, i, offset}
		offset += int(h.members[i].Size)
	}
	h.state = groupUnread
	h.at = k.lists[h.state].PushFront(h)
	k.bytes += h.cost()
	k.unread += h.cost()
	k.shrink()
}

// expect notes that a blob of a kept group is expected to be read once more.
func (k *keptGroups) expect(m member) {
	h := m.group
	if h.due[m.number] == 0 {
		h.left++
	}
	h.due[m.number] = max(h.due[m.number], 0) + 1
	if h.state == groupRead {
		k.move(h, groupOpen)
	}
}

// use notes that a blob of a kept group is read. It reports whether it is the first of its group.
func (k *keptGroups) use(m member) (first bool) {
	h := m.group
	if first = h.state == groupUnread; first {
		k.unread -= h.cost()
	}
	if due := &h.due[m.number]; *due != 0 {
		if *due = max(*due, 1) - 1; *due == 0 {
			h.left--
		}
	}
	k.move(h, groupOpen)
	if h.left == 0 {
		k.move(h, groupRead)
	}
	return first
}

// decoded keeps what a group decodes to, if the group is kept.
func (k *keptGroups) decoded(h *keptGroup, raw []byte) {
	h.raw = raw
	if h.at != nil {
		k.bytes += len(raw)
		k.shrink()
	}
}

// move makes a group the last used one of a state.
func (k *keptGroups) move(h *keptGroup, to groupState) {
	k.lists[h.state].Remove(h.at)
	h.state = to
	h.at = k.lists[to].PushFront(h)
}

// shrink forgets what is kept until that is no longer too much.
func (k *keptGroups) shrink() {
	for state := groupRead; k.bytes > groupsSize && state < groupStates; {
		oldest := k.lists[state].Back()
		switch {
		case state == groupPacked && k.lists[groupOpen].Len() > 0: // decoding again is cheaper than asking again
			k.pack(k.lists[groupOpen].Back().Value.(*keptGroup))
		case oldest != nil:
			k.drop(oldest.Value.(*keptGroup))
		default:
			state++
		}
	}
}

// pack forgets what a group decodes to.
func (k *keptGroups) pack(h *keptGroup) {
	if h.frame != nil {
		k.bytes -= len(h.raw)
		h.raw = nil
	}
	k.move(h, groupPacked)
}

// drop forgets a group.
func (k *keptGroups) drop(h *keptGroup) {
	k.lists[h.state].Remove(h.at)
	h.at = nil
	for i := range h.members {
		d := h.members[i].Digest
		if k.members[d].group == h {
			delete(k.members, d)
			if h.due[i] > 0 {
				k.lost.add(d, struct{}{})
			}
		}
	}
	k.bytes -= h.cost()
	if h.state == groupUnread {
		k.unread -= h.cost()
	}
}
