package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
	"castar/store/zstd"
)

// joiner says that a store cuts blobs as others of the same size do.
type joiner struct {
	store.Joiner
	size int
}

func (j joiner) ChunkSize() int { return j.size }

// grouper has blobs in groups, and some of them in chunks.
type grouper struct {
	store.Grouper
	store.Blobs
	groups map[store.Digest]store.Group
	chunks map[store.Digest][]store.Chunk
}

func (g *grouper) Group(_ context.Context, d store.Digest) (store.Group, error) {
	if group, ok := g.groups[d]; ok {
		return group, nil
	}
	return store.Group{}, store.ErrUnsupported
}

func (g *grouper) Chunks(_ context.Context, d store.Digest) ([]store.Chunk, error) {
	return g.chunks[d], nil
}

// taker takes groups of which it has nothing.
type taker struct {
	store.Blobs
	size   int
	mu     sync.Mutex
	groups []store.Group
	lists  int
}

func (k *taker) ChunkSize() int { return k.size }

func (k *taker) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	for _, m := range g.Members {
		if has, err := k.Has(ctx, m.Digest); has || err != nil {
			return false, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.groups = append(k.groups, g)
	for _, m := range g.Members {
		if _, err := k.Put(ctx, raw[:m.Size]); err != nil {
			return false, err
		}
		raw = raw[m.Size:]
	}
	return true, nil
}

func (k *taker) TakeList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lists++
	var data []byte
	for _, c := range chunks {
		b, err := k.Open(ctx, c.Digest)
		if err != nil {
			return err
		}
		var part bytes.Buffer
		if _, err := b.WriteTo(&part); err != nil {
			return err
		}
		data = append(data, part.Bytes()...)
	}
	got, err := k.Put(ctx, data)
	if got != d {
		err = errors.New("the chunks are not those of the blob")
	}
	return err
}

// groupSample is a store with a tree of three directories: one and two have a file each in the first group, and two has
// also a file of two chunks, in the first and in the second group.
type groupSample struct {
	st       *store.Store
	g        *grouper
	one, two store.Node
	root     store.Node
	frames   [2]store.Group
}

func newGroupSample(t *testing.T) *groupSample {
	t.Helper()
	st := memory.New()
	s := &groupSample{st: st, g: &grouper{Blobs: st.Blobs, groups: map[store.Digest]store.Group{}, chunks: map[store.Digest][]store.Chunk{}}}
	st.Blobs, st.Groups, st.Joins = s.g, s.g, joiner{size: 1 << 18}
	a, b, c, d := []byte("the first"), []byte("the second"), bytes.Repeat([]byte("third"), 1000), bytes.Repeat([]byte("fourth"), 1000)
	s.frames = [2]store.Group{s.group(t, a, b, c), s.group(t, d)}
	long := slices.Concat(c, d)
	s.g.chunks[store.Sum(long)] = []store.Chunk{s.frames[0].Members[2], s.frames[1].Members[0]}
	file := func(name string, data []byte) store.Node {
		got, err := st.Blobs.Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return store.Node{Name: name, Kind: store.KindFile, Digest: got, Size: uint64(len(data))}
	}
	dir := func(name string, nodes ...store.Node) store.Node {
		got, err := st.Directories.Put(t.Context(), nodes)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := store.Directory(nodes).Size(store.SizeDocumented)
		return store.Node{Name: name, Kind: store.KindDirectory, Digest: got, Size: size}
	}
	s.one, s.two = dir("one", file("a", a)), dir("two", file("b", b), file("long", long))
	s.root = dir("", s.one, s.two)
	s.one.Name, s.two.Name = "", ""
	return s
}

// group adds a group of blobs or chunks.
func (s *groupSample) group(t *testing.T, blobs ...[]byte) (g store.Group) {
	t.Helper()
	enc, err := zstd.NewEncoder(1, zstd.Fast)
	if err == nil {
		g.Frame, err = enc.Append(nil, bytes.Join(blobs, nil))
	}
	for _, data := range blobs {
		d, perr := s.g.Put(t.Context(), data)
		err = errors.Join(err, perr)
		g.Members = append(g.Members, store.Chunk{Digest: d, Size: uint64(len(data))})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range g.Members {
		s.g.groups[m.Digest] = g
	}
	return g
}

// copyAll copies roots to a new store, and returns it with what was copied and what went wrong.
func (s *groupSample) copyAll(t *testing.T, prepare func(to *store.Store), roots ...store.Node) (to *store.Store, k *taker, said string) {
	t.Helper()
	to = memory.New()
	k = &taker{Blobs: to.Blobs, size: 1 << 18}
	to.Takes = k
	if prepare != nil {
		prepare(to)
	}
	var counts tree.CopyCounts
	var problems []string
	c := tree.NewCopier(s.st, to, tree.CopyOptions{Progress: &counts, Problem: func(path string, err error) {
		problems = append(problems, path)
	}})
	var all []tree.Root
	for _, n := range roots {
		all = append(all, tree.Root{Name: "t", Node: n})
	}
	c.Expect(t.Context(), all...)
	for _, r := range all {
		err := c.Copy(t.Context(), r)
		if err == nil {
			err = complete(t.Context(), to, r.Node)
		}
		if err != nil && !errors.Is(err, tree.ErrIncomplete) {
			t.Fatal(err)
		}
	}
	slices.Sort(problems)
	return to, k, strings.Join(append([]string{fmt.Sprintf("%d of %d", counts.NewBlobs.Load(), counts.Blobs.Load())}, problems...), " ")
}

// TestCopyGroups asserts what of groups is copied, and how.
func TestCopyGroups(t *testing.T) {
	damage := func(n int, change func(*store.Group)) func(*groupSample) {
		return func(s *groupSample) {
			g := s.frames[n]
			change(&g)
			for _, m := range s.frames[n].Members {
				s.g.groups[m.Digest] = g
			}
		}
	}
	for _, tt := range []struct {
		name    string
		change  func(*groupSample)
		prepare func(*groupSample, *store.Store)
		roots   func(*groupSample) []store.Node
		groups  int // that are taken as they are
		lists   int
		said    string
	}{
		{"all is new", nil, nil, nil, 2, 1, "3 of 3"},
		{"two roots that reach all together", nil, nil, func(s *groupSample) []store.Node { return []store.Node{s.two, s.one} }, 2, 1, "3 of 3"},
		{"a root that reaches a part", nil, nil, func(s *groupSample) []store.Node { return []store.Node{s.two} }, 1, 1, "2 of 2"},
		{"the destination has a part", nil, func(s *groupSample, to *store.Store) { _, _ = to.Blobs.Put(t.Context(), []byte("the first")) }, nil, 1, 1, "2 of 3"},
		{"other lengths of chunks", nil, func(_ *groupSample, to *store.Store) { to.Takes.(*taker).size = 1 << 16 }, nil, 0, 0, "3 of 3"},
		{"a frame that is cut short", damage(0, func(g *store.Group) { g.Frame = g.Frame[:20] }), nil, nil, 1, 0, "3 of 3"},
		{"a frame of other bytes", func(s *groupSample) {
			g := s.group(t, []byte("the firsT"), []byte("the second"), bytes.Repeat([]byte("third"), 1000))
			damage(0, func(old *store.Group) { old.Frame = g.Frame })(s)
		}, nil, nil, 1, 1, "3 of 3"},
		{"a group of others", func(s *groupSample) {
			damage(0, func(old *store.Group) { *old = s.frames[1] })(s)
		}, nil, nil, 1, 0, "3 of 3"},
		{"a checksum in the frame", damage(0, func(g *store.Group) { g.Frame = append(slices.Clone(g.Frame), 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0) }), nil, nil, 1, 1, "3 of 3"},
		{"a list of other chunks", func(s *groupSample) {
			for d, chunks := range s.g.chunks {
				s.g.chunks[d] = []store.Chunk{chunks[1], chunks[0]}
			}
		}, nil, nil, 2, 0, "3 of 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newGroupSample(t)
			if tt.change != nil {
				tt.change(s)
			}
			roots := []store.Node{s.root}
			if tt.roots != nil {
				roots = tt.roots(s)
			}
			to, k, said := s.copyAll(t, func(to *store.Store) {
				if tt.prepare != nil {
					tt.prepare(s, to)
				}
			}, roots...)
			if len(k.groups) != tt.groups || k.lists != tt.lists || said != tt.said {
				t.Errorf("%d groups, %d lists, %q; want %d, %d, %q", len(k.groups), k.lists, said, tt.groups, tt.lists, tt.said)
			}
			if has, err := to.Blobs.Has(t.Context(), store.Sum([]byte("the first"))); err != nil || has != (tt.name != "a root that reaches a part") {
				t.Errorf("what the root does not reach: %t, %v", has, err)
			}
		})
	}
}

// TestCopyGroupsCounts asserts that a file counts as new if another goroutine stores its group just before the destination is
// asked for it.
func TestCopyGroupsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGroupSample(t)
		slow := &slowTaker{stored: make(chan struct{})}
		asked := make(chan struct{})
		ask := sync.OnceFunc(func() { close(asked) })
		_, _, said := s.copyAll(t, func(to *store.Store) {
			slow.taker = to.Takes.(*taker)
			to.Takes = slow
			to.Blobs = &askedBlobs{to.Blobs, map[store.Digest]func(){
				store.Sum([]byte("the first")):  func() { <-asked },
				store.Sum([]byte("the second")): func() { ask(); <-slow.stored },
			}}
		}, s.root)
		if said != "3 of 3" {
			t.Errorf("copied %s, want 3 of 3", said)
		}
	})
}

// slowTaker takes the first group, and says so only when nothing else can go on.
type slowTaker struct {
	*taker
	first  sync.Mutex // never unlocked
	stored chan struct{}
}

func (k *slowTaker) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	taken, err := k.taker.TakeGroup(ctx, g, raw)
	if k.first.TryLock() {
		close(k.stored)
		synctest.Wait()
	}
	return taken, err
}

// askedBlobs calls a function before it says whether it has a blob.
type askedBlobs struct {
	store.Blobs
	before map[store.Digest]func()
}

func (b *askedBlobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	if f := b.before[d]; f != nil {
		f()
	}
	return b.Blobs.Has(ctx, d)
}

// lateTaker takes the group that begins with a blob only after a while.
type lateTaker struct {
	*taker
	slow  store.Digest
	begun func()
}

func (k *lateTaker) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	if g.Members[0].Digest == k.slow {
		k.begun()
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(50 * time.Millisecond): // for what ended the first blob to end this, too
		}
	}
	return k.taker.TakeGroup(ctx, g, raw)
}

// TestCopyGroupOfOthers copies two blobs with a chunk in the same group. The first one has to be copied by itself, as its
// other chunk cannot be decoded. That does not end the copy of the group.
func TestCopyGroupOfOthers(t *testing.T) {
	s := newGroupSample(t)
	bad, both := bytes.Repeat([]byte("third"), 1000), bytes.Repeat([]byte("fourth"), 1000)
	d := store.Sum(both)
	s.g.chunks[store.Sum(slices.Concat(both, both))] = []store.Chunk{
		{Digest: d, Size: uint64(len(both))}, {Digest: d, Size: uint64(len(both))}}
	damaged := s.frames[0]
	damaged.Frame = damaged.Frame[:20]
	for _, m := range damaged.Members {
		s.g.groups[m.Digest] = damaged
	}
	root := putTree(t, s.st, map[string]string{"a": string(bad) + string(both), "b": string(both) + string(both)})
	to, begun := memory.New(), make(chan struct{})
	to.Takes = &lateTaker{&taker{Blobs: to.Blobs, size: 1 << 18}, d, sync.OnceFunc(func() { close(begun) })}
	to.Blobs = &askedBlobs{to.Blobs, map[store.Digest]func(){store.Sum(bad): func() { <-begun }}}
	c := tree.NewCopier(s.st, to, tree.CopyOptions{})
	c.Expect(t.Context(), tree.Root{Name: "t", Node: root})
	if err := c.Copy(t.Context(), tree.Root{Name: "t", Node: root}); err != nil {
		t.Error(err)
	}
}
