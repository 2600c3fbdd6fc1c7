package tree_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// countedBlobs counts the questions about single blobs.
type countedBlobs struct {
	store.Blobs
	mu  sync.Mutex
	has int
}

func (c *countedBlobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has++
	return c.Blobs.Has(ctx, d)
}

// A remote destination is asked about many blobs at once, and no more about each. It gets those that it lacks.
func TestCopyAsksAtOnce(t *testing.T) {
	from, to := memory.New(), memory.New()
	files := map[string]string{"same": "0", "other/same": "0"}
	for i := range 100 {
		files[fmt.Sprintf("%d/%d", i%7, i)] = fmt.Sprint(i)
	}
	root := putTree(t, from, files)
	for i := range 30 {
		if _, err := to.Blobs.Put(t.Context(), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	counted := &countedBlobs{Blobs: to.Blobs}
	to.RemoteBlobs, to.Blobs = &far{blobs: to.Blobs}, counted
	for _, dry := range []bool{true, false} {
		var counts tree.CopyCounts
		c := tree.NewCopier(from, to, tree.CopyOptions{DryRun: dry, Progress: &counts})
		if err := c.Copy(t.Context(), tree.Root{Node: root}); err != nil {
			t.Fatal(err)
		}
		if n := counts.NewBlobs.Load(); n != 70 || counts.Blobs.Load() != 100 || counted.has != 0 {
			t.Errorf("dry %v: copied %d of %d blobs, after %d questions about single ones", dry, n, counts.Blobs.Load(), counted.has)
		}
	}
	if err := complete(t.Context(), to, root); err != nil {
		t.Error(err)
	}
}

// meetingTaker takes groups only when several are on their way.
type meetingTaker struct {
	*taker
	all     sync.WaitGroup
	arrived chan struct{}
}

func (m *meetingTaker) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	m.all.Done()
	select {
	case <-m.arrived:
	case <-time.After(time.Minute):
		return false, fmt.Errorf("other groups wait for this one")
	}
	return m.taker.TakeGroup(ctx, g, raw)
}

// However many blobs wait for a group, others are on their way to a remote store.
func TestCopyManyGroups(t *testing.T) {
	const groups, blobs = 6, 50
	s := newGroupSample(t)
	files := map[string]string{}
	for i := range groups {
		var all [][]byte
		for j := range blobs {
			text := fmt.Sprintf("%d in group %d", j, i)
			all, files[fmt.Sprintf("%d/%d", i, j)] = append(all, []byte(text)), text
		}
		g := s.group(t, all...)
		for _, m := range g.Members {
			s.g.groups[m.Digest] = g
		}
	}
	root := putTree(t, s.st, files)
	to := memory.New()
	m := &meetingTaker{taker: &taker{Blobs: to.Blobs, size: 1 << 18}, arrived: make(chan struct{})}
	m.all.Add(groups)
	go func() {
		m.all.Wait()
		close(m.arrived)
	}()
	to.Takes, to.RemoteBlobs = m, &far{blobs: to.Blobs}
	if err := tree.NewCopier(s.st, to, tree.CopyOptions{}).Copy(t.Context(), tree.Root{Node: root}); err != nil {
		t.Fatal(err)
	}
	if len(m.groups) != groups {
		t.Errorf("%d groups, want %d", len(m.groups), groups)
	}
	if err := complete(t.Context(), to, root); err != nil {
		t.Error(err)
	}
}

// From a remote store, groups are copied as they come if the roots reach all blobs in them. Chunks are cut anew.
func TestCopyRemoteGroups(t *testing.T) {
	text := func(c string) []byte { return bytes.Repeat([]byte(c), 1<<17) }
	short, longer := [][]byte{[]byte("s 1"), []byte("s 2")}, [][]byte{text("l"), text("l 2"), []byte("l 3")}
	for _, tt := range []struct {
		name   string
		groups [][][]byte
		bytes  func(g *store.Group) // changes the first group
		cuts   bool                 // as the destination does
		want   int                  // groups that are taken as they are
	}{
		{"all is reached", [][][]byte{short, longer}, nil, true, 2},
		{"nobody knows where the source cuts", [][][]byte{short, longer}, nil, false, 1},
		{"a blob that is not reached", [][][]byte{append(short[:2:2], []byte("secret")), longer}, nil, true, 1},
		{"a frame that is cut short", [][][]byte{short, longer}, func(g *store.Group) { g.Frame = g.Frame[:8] }, true, 1},
		{"other names", [][][]byte{short, longer}, func(g *store.Group) { g.Members[0].Digest[0]++ }, true, 1},
		{"other lengths", [][][]byte{short, longer}, func(g *store.Group) { g.Members[0].Size = 1 << 60 }, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newGroupSample(t)
			files := map[string]string{}
			for i, blobs := range tt.groups {
				g := s.group(t, blobs...)
				if i == 0 && tt.bytes != nil {
					all := g.Members
					g.Members = slices.Clone(all)
					tt.bytes(&g)
					for _, m := range all {
						s.g.groups[m.Digest] = g
					}
				}
				for _, data := range blobs {
					if string(data) != "secret" {
						files[fmt.Sprintf("%d/%.3s", i, data)] = string(data)
					}
				}
			}
			root := putTree(t, s.st, files)
			s.st.RemoteBlobs, s.st.Groups, s.st.Joins = &far{blobs: s.g, groups: s.g}, nil, nil
			if tt.cuts {
				s.st.Takes = &taker{size: 1 << 18}
			}
			to, k, said := s.copyAll(t, nil, root)
			if n := len(files); len(k.groups) != tt.want || said != fmt.Sprintf("%d of %d", n, n) {
				t.Errorf("%d groups, %q", len(k.groups), said)
			}
			if has, err := to.Blobs.Has(t.Context(), store.Sum([]byte("secret"))); has || err != nil {
				t.Errorf("what the root does not reach: %t, %v", has, err)
			}
		})
	}
}

// orderedDirectories counts the directories that are asked for before a remote store was told of any.
type orderedDirectories struct {
	store.Directories
	far   *far
	early int
}

func (o *orderedDirectories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if len(o.far.directories) == 0 {
		o.early++
	}
	return o.Directories.Get(ctx, d)
}

// A remote source hears of a tree before the copy asks for one directory after the other, as it does to know what groups are
// reached.
func TestCopyExpectsFirst(t *testing.T) {
	from, f := newFar()
	root := putTree(t, from, map[string]string{"a/b/c": "1", "d/e": "2"})
	ordered := &orderedDirectories{Directories: from.Directories, far: f}
	from.Directories = ordered
	to := memory.New()
	to.Takes = &taker{Blobs: to.Blobs, size: 1 << 18}
	c := tree.NewCopier(from, to, tree.CopyOptions{Jobs: 1})
	c.Expect(t.Context(), tree.Root{Node: root})
	if err := c.Copy(t.Context(), tree.Root{Node: root}); err != nil {
		t.Fatal(err)
	}
	if ordered.early > 0 {
		t.Errorf("asked for %d directories first", ordered.early)
	}
	if err := complete(t.Context(), to, root); err != nil {
		t.Error(err)
	}
}
