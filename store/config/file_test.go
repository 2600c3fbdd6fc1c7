package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"castar/store"
	"castar/store/bigtable"
	"castar/store/storetest"
)

// composition writes a file, and returns its path.
func composition(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) *Composition {
	t.Helper()
	c, err := Load(composition(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every mistake is told, in a line of its own that names the table.
func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"syntax", "x = ", []string{"line 1: unexpected EOF; expected value"}},
		{"twice", "[stores.a]\ntype='memory'\n[stores.a]\ntype='memory'", []string{"line 3: Key 'stores.a' has already been defined."}},
		{"unknown table", "[stors.a]\ntype='memory'\n[stors.b]\ntype='memory'",
			[]string{"stors: unknown table: want stores, blobservices or directoryservices"}},
		{"no table", "stores = 1", []string{"stores: not a table"}},
		{"no table inside", "[stores]\na = 1", []string{"stores.a: not a table"}},
		{"no type", "[blobservices.a]", []string{"blobservices.a: no type"}},
		{"neither", "[stores.a]", []string{"stores.a: neither type nor url"}},
		{"both", "[stores.a]\ntype='memory'\nurl='memory:'", []string{`stores.a: unknown key "url": want size_rule`}},
		{"unknown type", "[stores.a]\ntype='s3'", []string{`stores.a: unknown type "s3"`}},
		{"reference to what is wrong", "[stores.a]\ntype='s3'\n[stores.b]\ntype='cache'\nnear='a'\nfar='&a'", []string{`stores.a: unknown type "s3"`}},
		{"unknown key", "[stores.a]\ntype='packed'\npath='x'\npaht='y'\n[stores.b]\nurl='memory:'\nx.y=1",
			[]string{`stores.a: unknown key "paht": want path, size_rule`, `stores.b: unknown key "x.y": want type, or url alone`}},
		{"wrong type of a value", "[stores.a]\ntype='packed'\npath=1",
			[]string{"stores.a: path: want text in quotes"}},
		{"wrong type of one value of several", "[stores.a]\ntype='objectstore'\nobject_store_url='file:/x'\nx=1\nobject_store_options={a=3}",
			[]string{"stores.a: line 5 (last key \"stores.a.object_store_options.a\"): incompatible types: " +
				"TOML value has type int64; destination has type string",
				`stores.a: unknown key "x": want object_store_url, object_store_options, avg_chunk_size, size_rule`}},
		{"missing key", "[stores.a]\ntype='packed'\n[stores.b]\ntype='cache'\n[blobservices.c]\ntype='combined'\nlocal='a'",
			[]string{"stores.a: no path", "stores.b: missing near and far", "blobservices.c: missing remote"}},
		{"wrong table", "[stores.a]\ntype='combined'\n[directoryservices.b]\ntype='combined'\n[blobservices.c]\ntype='priority'",
			[]string{"stores.a: type combined is not for stores", "directoryservices.b: type combined is not for directoryservices",
				"blobservices.c: type priority is not for blobservices"}},
		{"redb", "[directoryservices.a]\ntype='redb'\npaht='/x'\n[stores.b]\ntype='sled'",
			[]string{"stores.b: type sled is not for stores", `directoryservices.a: unknown key "paht": want is_temporary, path, cache_size, read_only`}},
		{"size rule", "[stores.a]\ntype='memory'\nsize_rule='tvix'\n[stores.b]\nurl='grpc+http://h?size_rule=1'",
			[]string{`stores.a: line 3: unknown size rule "tvix": want documented or snix`,
				`stores.b: url "grpc+http://h": parameter "size_rule": unknown size rule "1": want documented or snix`}},
		{"url", "[stores.a]\nurl='memory:x'\n[stores.b]\nurl='s3:x?secret=1'",
			[]string{`stores.a: url "memory:x": memory takes no path: want memory:`,
				`stores.b: url "s3:x": unknown scheme "s3": ` + wantURL + "./s3:x"}},
		{"cycle", "[blobservices.default]\ntype='combined'\nlocal='a'\nremote='memory:'\n" +
			"[blobservices.a]\ntype='cache'\nnear='memory:'\nfar='&default'",
			[]string{"blobservices.default: cycle: default -> a -> default"}},
		{"cycle of one", "[stores.a]\ntype='cache'\nnear='a'\nfar='&a'",
			[]string{"stores.a: cycle: a -> a"}},
		{"cycle through a URL", "[stores.a]\nurl='cache:?near=memory:&far=%26b'\n[stores.b]\ntype='cache'\nnear='memory:'\nfar='cache:?near=a&far=memory:'",
			[]string{`stores.a: cycle: a -> b -> store "cache:" -> a`}},
		{"cycle further down", "[blobservices.root]\ntype='cache'\nnear='s'\nfar='s'\n[stores.s]\ntype='cache'\nnear='t'\nfar='memory:'\n" +
			"[stores.t]\ntype='cache'\nnear='s'\nfar='memory:'",
			[]string{"blobservices.root: cycle: root -> stores.s -> stores.t -> s"}},
		{"missing", "[blobservices.default]\ntype='cache'\nnear='a'\nfar='memory:'\n[blobservices.a]\ntype='cache'\nnear='b'\nfar='&c'",
			[]string{"blobservices.default: missing: default -> a -> b: want a table blobservices.b or stores.b",
				"blobservices.default: missing: default -> a -> c: want a table blobservices.c or stores.c"}},
		{"missing store", "[stores.a]\ntype='cache'\nnear='b'\nfar='memory:'\n[blobservices.b]\ntype='memory'",
			[]string{"stores.a: missing: a -> b: want a table stores.b"}},
		{"wrong reference", "[blobservices.a]\ntype='cache'\nnear='s3:x?secret'\nfar='&p'\n[stores.p]\ntype='priority'\nservices={0='memory:'}",
			[]string{`blobservices.a: near "s3:x": unknown scheme "s3": ` + wantURL + "./s3:x", "blobservices.a: far: stores.p is not for blobservices"}},
		{"reference to a name in the other table", "[blobservices.a]\ntype='cache'\nnear='b'\nfar='b'\n[directoryservices.b]\ntype='memory'",
			[]string{"blobservices.a: missing: a -> b: want a table blobservices.b or stores.b"}},
		{"priorities", "[directoryservices.a]\ntype='priority'\n[directoryservices.b]\ntype='priority'\nservices={x='a'}\n" +
			"[directoryservices.c]\ntype='priority'\nservices={1='memory:',01='memory:'}",
			[]string{"directoryservices.a: no services", `directoryservices.b: services: invalid priority "x": want a number`,
				`directoryservices.c: services: priorities "01" and "1" are the same`}},
		{"no table of priorities", "[directoryservices.a]\ntype='priority'\nservices=['memory:']\n" +
			"[directoryservices.b]\ntype='priority'\nservices=1",
			[]string{"directoryservices.a: services: want a table", "directoryservices.b: services: want a table"}},
		{"settings", "[stores.a]\ntype='objectstore'\nobject_store_url='s3://b'\nobject_store_options={aws_regio='x'}\n" +
			"[stores.b]\ntype='objectstore'\nobject_store_url='file:/x'\navg_chunk_size=-5\n" +
			"[stores.c]\nurl='objectstore+file:/x?secret=1'\n[stores.d]\nurl='objectstore+http://u:secret@h/?allow_http=x'",
			[]string{"stores.a: unknown setting aws_regio", "stores.b: avg_chunk_size: want a whole number from 1 on, not -5",
				`stores.c: url "objectstore+file:/x": unknown setting secret`,
				`stores.d: url "objectstore+http://h": setting allow_http is "x": want true or false`}},
		{"no table of options", "[stores.a]\ntype='objectstore'\nobject_store_url='s3://b'\nobject_store_options=['aws_region=x']",
			[]string{"stores.a: object_store_options: want a table"}},
		{"values of other types", "[stores.a]\ntype='objectstore'\nobject_store_url='memory:'\navg_chunk_size='x'\n" +
			"[stores.b]\ntype='cache'\nnear='a'\nfar='a'\nwrite_through='yes'\n" +
			"[directoryservices.c]\ntype='bigtable'\nchannel_size='many'\n[directoryservices.d]\ntype='bigtable'\nchannel_size=1.5\n" +
			"[directoryservices.e]\ntype='bigtable'\ntimeout=true\n[directoryservices.f]\ntype='bigtable'\nchannel_size=0",
			[]string{"stores.a: avg_chunk_size: want a whole number", "stores.b: write_through: want true or false",
				"directoryservices.c: channel_size: want a whole number", "directoryservices.d: channel_size: want a whole number",
				"directoryservices.e: line 18: timeout: want a number of seconds, at most a day",
				"directoryservices.f: channel_size: want a whole number from 1 on, not 0"}},
		{"values that say nothing", "[stores.a]\ntype='packed'\npath=''\n[stores.b]\ntype='cache'\nnear=''\nfar='a'\n" +
			"[directoryservices.c]\ntype='bigtable'\napp_profile_id=''\n" +
			"[stores.d]\ntype='objectstore'\nobject_store_url='s3://b'\nobject_store_options={aws_region=''}",
			[]string{"stores.a: path: has no value", "stores.b: near: has no value", "directoryservices.c: app_profile_id: has no value",
				"stores.d: setting aws_region has no value"}},
		{"parts of URLs", "[stores.a]\ntype='grpc'\nurl='grpc+ftp://host'\n[stores.b]\ntype='grpc'\nurl='grpc+http://host?packages=x'\n" +
			"[stores.c]\ntype='objectstore'\nobject_store_url='file://host/p'\n[stores.d]\ntype='objectstore'\nobject_store_url='packed:/p'\n" +
			"[stores.e]\nurl='packed+ftp://host/p'\n[stores.f]\ntype='cache'\nnear='packed:/p?x'\nfar='memory:'\n[stores.g]\ntype='grpc'\nurl='host:80'",
			[]string{`stores.a: unknown scheme "grpc+ftp": want grpc+http, grpc+https, grpc+unix`,
				`stores.b: unknown parameter "packages": want wait-connect, package, token-path, tls-ca-cert-path, tls-client-cert-path, tls-client-key-path`,
				"stores.c: objectstore+file takes no host: want objectstore+file:/path",
				`stores.d: unknown scheme "objectstore+packed": want objectstore+az, objectstore+file, objectstore+gs, objectstore+http, objectstore+https, objectstore+memory, objectstore+s3`,
				`stores.e: url "packed+ftp://host/p": unknown scheme "packed+ftp": want packed`,
				`stores.g: unknown scheme "host": want grpc+http, grpc+https, grpc+unix`,
				`stores.f: near "packed:/p": packed takes no query: want packed:/path`}},
		{"one name, two stores", "[stores.a]\ntype='memory'\n[blobservices.a]\ntype='memory'",
			[]string{"blobservices.a: stores.a has the same name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := composition(t, tt.text)
			c, err := Load(path)
			if err == nil {
				t.Fatalf("loaded %v", c.names())
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), path+": ", ""), "\n")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("no file: error %v", err)
	}
	huge := composition(t, "[stores.root]\ntype='memory'\n")
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), huge, Options{}); err == nil || !strings.Contains(err.Error(), "not a composition file") {
		t.Errorf("a file of 1 TiB: error %v", err)
	}
}

const shared = `
[stores.disk]
type = "packed"
path = "disk"

[stores.server]
url = "memory:"

[blobservices.root]
type = "cache"
near = "&disk"
far = "&server"

[directoryservices.root]
type = "cache"
near = "disk"
far = "server"

[directoryservices.spare]
type = "memory"

[pathinfoservices.root]
type = "whatever"
x.y = 1
`

func TestEntries(t *testing.T) {
	c := load(t, shared+"[blobservices.half]\ntype='memory'\n[stores.bt]\nurl='bigtable://i?project_id=p&table_name=t&family_name=f'\n")
	tests := []struct{ name, want string }{
		{"", ""}, {"root", ""}, {"disk", ""},
		{"half", "F: blobservices.half has no directories: want a table directoryservices.half"},
		{"spare", "F: directoryservices.spare has no blobs: want a table blobservices.spare"},
		{"bt", "stores.bt: not supported by this kind of store: it keeps no blobs, which a composition file can add"},
		{"none", "F#none: no store here: want one of disk, server, root"},
	}
	for _, tt := range tests {
		got := ""
		if _, err := c.entry(tt.name); err != nil {
			got = strings.ReplaceAll(err.Error(), c.file, "F")
		}
		if got != tt.want {
			t.Errorf("%q: error %q, want %q", tt.name, got, tt.want)
		}
	}
	files := []struct{ text, want string }{
		{"", "F: has neither root nor default: say F#NAME"},
		{"[stores.default]\ntype='memory'\n[stores.root]\ntype='memory'", "F: has both root and default: say F#root or F#default"},
	}
	for _, tt := range files {
		c := load(t, tt.text)
		if _, err := c.entry(""); err == nil || strings.ReplaceAll(err.Error(), c.file, "F") != tt.want {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	c := load(t, shared)
	entries, err := c.Entries("")
	if err != nil || !cmp.Equal(entries, []string{"root"}) {
		t.Fatalf("entries %v, %v", entries, err)
	}
	lines, err := c.Explain("root")
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(filepath.Dir(c.file), "disk")
	want := []Line{
		{},
		{1, "blobs", "blobservices.root", "cache", "", false, ""},
		{2, "near", "stores.disk", "packed", disk, true, ""},
		{2, "far", "stores.server", "memory", "", true, ""},
		{1, "directories", "directoryservices.root", "cache", "", false, ""},
		{2, "near", "stores.disk", "packed", disk, true, ""},
		{2, "far", "stores.server", "memory", "", true, ""},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if unused, err := c.Unused(entries); err != nil || !cmp.Equal(unused, []string{"directoryservices.spare"}) {
		t.Errorf("unused: %v, %v", unused, err)
	}
}

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

// fakeKind is a memory store that tells what is done to it.
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

// gc and repair have a store for themselves, which one made of others cannot give them.
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

// Whatever a file says, it is refused or can be explained.
func FuzzRead(f *testing.F) {
	f.Add(shared)
	f.Add("[stores.a]\ntype='cache'\nnear='a'\nfar='cache:?near=%26a&far=memory:'")
	f.Add("[blobservices.default]\ntype='combined'\nlocal='a'\nremote='&b'\n[stores]\na.url='memory:'\nb={type='memory'}")
	f.Add("stores = 1\n[[blobservices.a]]\n[pathinfoservices.x]\n")
	f.Add("[directoryservices.a]\ntype='priority'\nservices={1='memory:',2='redb:'}\ntimeout='4'")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := read("f", text)
		if err != nil {
			return
		}
		for _, name := range c.names() {
			if lines, err := c.Explain(name); err != nil || len(lines) == 0 {
				t.Errorf("%s: %v, %v", name, lines, err)
			}
		}
	})
}

// Stores that cannot be opened are all told, and those that could be are closed.
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

// A store is opened for what it is used for: far ones only to be read, unless what is put goes through to them.
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

func TestComposition(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store {
		text := strings.ReplaceAll(shared, `url = "memory:"`, `url = "cache:?near=%26disk&far=memory:&write_through=1"`)
		path := composition(t, strings.ReplaceAll(text, "type = \"packed\"\npath = \"disk\"", `type = "memory"`))
		st, err := Open(t.Context(), path, Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
}

func TestFolders(t *testing.T) {
	path := composition(t, shared)
	disk := filepath.Join(filepath.Dir(path), "disk")
	tests := []struct {
		spec string
		want []string
	}{
		{path, []string{disk}}, {path + "#disk", []string{disk}}, {path + "#server", nil},
		{"x/y", []string{"x/y"}}, {"packed:/x", []string{"/x"}}, {"memory:", nil},
		{"cache:?near=x&far=/y", []string{"/y", "x"}}, {"objectstore+file:///z", []string{"/z"}}, {"grpc+unix:/x", nil},
	}
	for _, tt := range tests {
		if got, err := Folders(tt.spec); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", tt.spec, got, err, tt.want)
		}
	}
	if _, err := Folders("memory:x"); err == nil {
		t.Error("no error")
	}
}

// Files of tvix and snix are taken as they are.
func TestUpstreamFiles(t *testing.T) {
	tvix := load(t, `
[blobservices.local]
type = "objectstore"
object_store_url = "file:///var/lib/blobs"
object_store_options = {}
[blobservices.default]
type = "combined"
local = "local"
remote = "remote"
[blobservices.remote]
type = "grpc"
url = "grpc+http://[::1]:8000"
[directoryservices.memory]
type = "memory"
[directoryservices.remote]
type = "grpc"
url = "grpc+http://[::1]:8000"
[directoryservices.default]
type = "cache"
near = "memory"
far = "remote"
[pathinfoservices.default]
type = "sled"
is_temporary = true
`)
	snix := load(t, `
[blobservices.root]
type = "cache"
near = "&near"
far = "grpc+https://cache.example"
[blobservices.near]
type = "objectstore"
object_store_url = "s3://bucket/x"
object_store_options = { aws_region = "r" }
avg_chunk_size = 65536
[directoryservices.root]
type = "priority"
services = { "10" = "&far", "9" = "memory:" }
[directoryservices.far]
type = "cache"
near = "objectstore+memory:"
far = "grpc+https://cache.example"
`)
	for _, c := range []*Composition{tvix, snix} {
		entries, err := c.Entries("")
		if err != nil || len(entries) != 1 {
			t.Fatalf("entries %v, %v", entries, err)
		}
		unused, err := c.Unused(entries)
		if err != nil || len(unused) > 0 {
			t.Errorf("unused: %v, %v", unused, err)
		}
	}
	lines, err := snix.Explain("root")
	if err != nil {
		t.Fatal(err)
	}
	want := []Line{
		{},
		{1, "blobs", "blobservices.root", "cache", "", false, ""},
		{2, "near", "blobservices.near", "objectstore", "s3://bucket/x", false, ""},
		{2, "far", "", "grpc", "grpc+https://cache.example", true, ""},
		{1, "directories", "directoryservices.root", "priority", "", false, ""},
		{2, "services[9]", "", "memory", "", false, ""},
		{2, "services[10]", "directoryservices.far", "cache", "", false, ""},
		{3, "near", "", "objectstore", "objectstore+memory:", false, ""},
		{3, "far", "", "grpc", "grpc+https://cache.example", true, ""},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestBigtable(t *testing.T) {
	c := load(t, `
[directoryservices.default]
type = "bigtable"
project_id = "p"
instance_name = "i"
table_name = "t"
family_name = "f"
timeout = "4"
[directoryservices.other]
type = "bigtable"
project_id = "p"
instance_name = "i"
table_name = "t"
family_name = "f"
is_read_only = true
channel_size = 2
timeout = 0.5
app_profile_id = "x"
`)
	want := []bigtable.Config{
		{Project: "p", Instance: "i", Table: "t", Family: "f", Timeout: 4 * time.Second},
		{Project: "p", Instance: "i", Table: "t", Family: "f", AppProfile: "x", Channels: 2, Timeout: time.Second / 2, ReadOnly: true},
	}
	for i, n := range c.order {
		if diff := cmp.Diff(want[i], n.kind.(*bigtableKind).config()); diff != "" {
			t.Error(diff)
		}
	}
	_, err := Load(composition(t, "[stores.a]\ntype='bigtable'\ntimeout=true\n"))
	if err == nil || !strings.Contains(err.Error(), "timeout: want a number of seconds") {
		t.Errorf("error %v", err)
	}
}

// openNamed builds the store of a composition that has a name, or its entry point if the name is "".
func openNamed(ctx context.Context, c *Composition, name string, o Options) (*store.Store, error) {
	e, err := c.entry(name)
	if err != nil {
		return nil, err
	}
	return build(ctx, e, o)
}
