package tree

import (
	"context"

	"castar/store"
)

// Room is what a directory, or another entry, of a tree takes.
type Room struct {
	Path   string
	Node   store.Node
	Counts store.Counts // what it holds, each wherever it occurs
	// Bytes that are stored for it and for nothing else in the tree, and those that other entries need too, at the same
	// depth or above it. Both are 0 if the store cannot tell.
	Unique, Shared uint64
}

// Rooms measures the directories of a tree down to depth, each after those in it, and the root last. It reads the tree
// about three times for each level.
func Rooms(ctx context.Context, st *store.Store, root store.Node, depth int) ([]Room, error) {
	var entries []Entry
	for e, err := range Walk(ctx, st.Directories, root, depth) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	deepest := 0
	for _, e := range entries {
		deepest = max(deepest, e.Depth)
	}
	rooms := make([]Room, len(entries))
	for level := 0; level <= deepest; level++ {
		if err := roomsAt(ctx, st, entries, level, rooms); err != nil {
			return nil, err
		}
	}
	return afterContents(entries, rooms), nil
}

// roomsAt measures the directories of one level. What else is there, or above, shares with them.
func roomsAt(ctx context.Context, st *store.Store, entries []Entry, level int, rooms []Room) error {
	u := NewUsage(st)
	measured := func(e Entry) bool { return e.Depth == level && (level == 0 || e.Node.Kind == store.KindDirectory) }
	for _, e := range entries {
		if e.Depth == level || e.Depth < level && e.Node.Kind == store.KindFile {
			if err := u.Own(ctx, e.Node); err != nil {
				return err
			}
		}
	}
	for i, e := range entries {
		if !measured(e) {
			continue
		}
		own := NewUsage(st)
		counts, err := own.Add(ctx, e.Node)
		if err != nil {
			return err
		}
		alone, err := u.Alone(ctx, e.Node)
		if err != nil {
			return err
		}
		all := add(own.Unique.Stored, own.Unique.StoredDirs)
		rooms[i] = Room{e.Path, e.Node, counts, alone, all - min(alone, all)}
	}
	return nil
}

// afterContents returns the rooms that were measured, each directory after what is in it.
func afterContents(entries []Entry, rooms []Room) (sorted []Room) {
	var open []int // directories on the way down
	leave := func(depth int) {
		for len(open) > 0 && entries[open[len(open)-1]].Depth >= depth {
			sorted = append(sorted, rooms[open[len(open)-1]])
			open = open[:len(open)-1]
		}
	}
	for i, e := range entries {
		leave(e.Depth)
		if rooms[i].Node.Kind != 0 {
			open = append(open, i)
		}
	}
	leave(0)
	return sorted
}
