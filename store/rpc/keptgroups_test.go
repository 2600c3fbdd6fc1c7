package rpc

import (
	"encoding/binary"
	"fmt"
	"testing"

	"castar/store"
	"castar/store/storetest"
)

// nth returns a different digest for each blob of each group. Hashing a million blobs would take seconds.
func nth(group, blob int) (d store.Digest) {
	binary.BigEndian.PutUint32(d[:], uint32(group))
	binary.BigEndian.PutUint32(d[4:], uint32(blob))
	return d
}

// groupOf returns group i, of n blobs of size bytes, which came as a frame of some length.
func groupOf(i, n, size, frame int) *keptGroup {
	h := &keptGroup{size: n * size, frame: make([]byte, frame)}
	for k := range n {
		h.members = append(h.members, store.Chunk{Digest: nth(i, k), Size: uint64(size)})
	}
	return h
}

func never(store.Digest) int32 { return 0 }

// readFrom reads blobs of a group, and decodes it. It reports whether the group is kept.
func readFrom(k *keptGroups, group int, blobs ...int) bool {
	for _, i := range blobs {
		m, ok := k.members[nth(group, i)]
		if !ok {
			return false
		}
		k.use(m)
		if m.group.raw == nil {
			k.decoded(m.group, make([]byte, m.group.size))
		}
	}
	return true
}

// The memory for groups is bounded, even for tiny blobs, and what is used all the time stays.
func TestGroupsKept(t *testing.T) {
	storetest.NotUnderRace(t)
	for _, tt := range []struct{ members, size, frame int }{{2, 1 << 20, 12 << 20}, {16, 1 << 20, 1 << 10}, {maxGroup / memberCost, 0, 0}} {
		t.Run(fmt.Sprint(tt.members), func(t *testing.T) {
			var k keptGroups
			k.init()
			for i := range groupsSize/maxGroup + 4 {
				k.insert(groupOf(i, tt.members, tt.size, tt.frame), never)
				if !readFrom(&k, i, 0) || !readFrom(&k, 0, 0) {
					t.Fatalf("after %d others, what is used all the time is gone", i)
				}
				cost, members := 0, 0
				for _, l := range k.lists {
					for e := l.Front(); e != nil; e = e.Next() {
						cost += e.Value.(*keptGroup).cost()
						members += tt.members
					}
				}
				if k.bytes > groupsSize || k.bytes != cost || k.unread != 0 || len(k.members) != members {
					t.Fatalf("%d blobs are kept, of %d bytes, want %d of %d", len(k.members), k.bytes, members, cost)
				}
			}
		})
	}
}

// Groups that were read to the end are forgotten first, then what others decode to, then these, and last what nobody has
// read from.
func TestGroupsForgotten(t *testing.T) {
	var k keptGroups
	k.init()
	for i := range 6 {
		k.insert(groupOf(i, 2, 2<<20, 1<<20), never)
	}
	for i := range 4 {
		readFrom(&k, i, 0)
	}
	readFrom(&k, 1, 1) // group 1 was read to the end, and group 0 is the least recently used
	kept := func() (as [6]string) {
		for i := range as {
			if m, ok := k.members[nth(i, 1)]; ok && m.group.raw != nil {
				as[i] = "decoded"
			} else if ok {
				as[i] = "as it came"
			}
		}
		return as
	}
	for _, want := range [][6]string{
		{"decoded", "decoded", "decoded", "decoded", "as it came", "as it came"},
		{"decoded", "", "decoded", "decoded", "as it came", "as it came"},
		{"as it came", "", "decoded", "decoded", "as it came", "as it came"},
		{"as it came", "", "as it came", "decoded", "as it came", "as it came"},
		{"as it came", "", "as it came", "as it came", "as it came", "as it came"},
		{"", "", "as it came", "as it came", "as it came", "as it came"},
		{"", "", "", "as it came", "as it came", "as it came"},
		{"", "", "", "", "as it came", "as it came"},
		{"", "", "", "", "", "as it came"},
	} {
		if got := kept(); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
		k.bytes = groupsSize + 1 // something that stays
		k.shrink()
	}
}
