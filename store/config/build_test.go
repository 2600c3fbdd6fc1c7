package config

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store"
)

// Every use of a composition goes through one store each, which is synced and closed once.
func TestSharing(t *testing.T) {
	var calls []string
	leaf := func(name string) *node {
		return &node{name: name, kind: &fakeKind{name: name, calls: &calls}}
	}
	disk, server := leaf("disk"), leaf("server")
	cache := func(near, far *node) *node {
		return &node{kind: &cacheKind{}, parts: []*node{near, far}}
	}
	e := &entry{"x", cache(disk, cache(disk, server)), cache(disk, server)}
	st, err := build(t.Context(), e, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	calls = append(calls, "|")
	if err := errors.Join(st.Sync(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(calls, " ")
	opened, rest, _ := strings.Cut(got, " | ")
	if opened != "open(disk) open(server)" && opened != "open(server) open(disk)" {
		t.Errorf("opened: %s", opened)
	}
	if want := "sync(server) sync(disk) close(server) sync(disk) close(disk)"; rest != want {
		t.Errorf("then %s, want %s", rest, want)
	}
}

// fakeKind is a memory store that records calls.
type fakeKind struct {
	memoryKind
	name  string
	calls *[]string
	got   Options
	err   error
}

var callsMu sync.Mutex

func (k *fakeKind) say(what string) {
	callsMu.Lock()
	defer callsMu.Unlock()
	*k.calls = append(*k.calls, what+"("+k.name+")")
}

func (k *fakeKind) open(ctx context.Context, o Options, parts []*store.Store) (*store.Store, error) {
	k.say("open")
	k.got = o
	if k.err != nil {
		return nil, k.err
	}
	st, err := k.memoryKind.open(ctx, o, parts)
	if err == nil {
		st.Barrier = fakeBarrier{k}
	}
	return st, err
}

type fakeBarrier struct{ k *fakeKind }

func (b fakeBarrier) Sync(context.Context) error { b.k.say("sync"); return nil }
func (b fakeBarrier) Close() error               { b.k.say("close"); return nil }

// gc and repair need a store for themselves, and a store made of others cannot be locked.
func TestExclusive(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), "cache:?near="+dir+"&far=memory:", Options{Exclusive: true}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a cache: error %v", err)
	}
	c := load(t, shared)
	if _, err := openNamed(t.Context(), c, "root", Options{Exclusive: true}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("two halves: error %v", err)
	}
	st, err := openNamed(t.Context(), c, "disk", Options{Exclusive: true, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if st.Sweeper == nil || st.Repairer == nil {
		t.Error("a packed store lost what it can")
	}
	st.Close()
}

// Every store that cannot be opened is reported, and the others are closed.
func TestBuildFails(t *testing.T) {
	var calls []string
	reason := errors.New("broken")
	good := &fakeKind{name: "good", calls: &calls}
	bad := &node{name: "stores.bad", kind: &fakeKind{name: "bad", calls: &calls, err: reason}}
	worse := &node{name: "stores.worse", kind: &fakeKind{name: "worse", calls: &calls, err: reason}}
	blobs := &node{kind: &cacheKind{}, parts: []*node{{kind: good}, bad}}
	directories := &node{kind: &cacheKind{}, parts: []*node{bad, worse}}
	_, err := build(t.Context(), &entry{"x", blobs, directories}, Options{})
	const want = "stores.bad: broken\nstores.worse: broken"
	if err == nil || err.Error() != want || !errors.Is(err, reason) {
		t.Errorf("error %v, want %s", err, want)
	}
	if n := strings.Count(strings.Join(calls, " "), "close"); n != 1 || calls[len(calls)-1] != "close(good)" {
		t.Errorf("calls %v", calls)
	}
}

// A store is opened for its use: far ones only for reading, unless the cache writes through.
func TestAccess(t *testing.T) {
	tests := []struct {
		through   bool
		o         Options
		near, far Options
	}{
		{false, Options{ReadOnly: true}, Options{Create: true}, Options{ReadOnly: true}},
		{false, Options{}, Options{Create: true}, Options{ReadOnly: true}},
		{false, Options{Create: true}, Options{Create: true}, Options{ReadOnly: true}},
		{true, Options{ReadOnly: true}, Options{Create: true}, Options{ReadOnly: true}},
		{true, Options{}, Options{Create: true}, Options{}},
		{true, Options{Create: true}, Options{Create: true}, Options{Create: true}},
	}
	for _, tt := range tests {
		var calls []string
		near, far := &fakeKind{calls: &calls}, &fakeKind{calls: &calls}
		n := &node{kind: &cacheKind{WriteThrough: tt.through}, parts: []*node{{kind: near}, {kind: far}}}
		st, err := build(t.Context(), &entry{"x", n, n}, tt.o)
		if err != nil {
			t.Fatal(err)
		}
		st.Close()
		if diff := cmp.Diff([]Options{tt.near, tt.far}, []Options{near.got, far.got}); diff != "" {
			t.Errorf("%+v: %s", tt, diff)
		}
	}
}
