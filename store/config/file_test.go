package config

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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

// tvixFile and snixFile are composition files as tvix and snix document them.
const (
	tvixFile = `
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
`
	snixFile = `
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
`
)

// Composition files of tvix and snix work unchanged.
func TestUpstreamFiles(t *testing.T) {
	tvix, snix := load(t, tvixFile), load(t, snixFile)
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
		k := n.kind.(*bigtableKind)
		k.Config.Timeout = time.Duration(k.Timeout)
		if diff := cmp.Diff(want[i], k.Config); diff != "" {
			t.Error(diff)
		}
	}
	_, err := Load(composition(t, "[stores.a]\ntype='bigtable'\ntimeout=true\n"))
	if err == nil || !strings.Contains(err.Error(), `timeout "true": want a number of seconds`) {
		t.Errorf("error %v", err)
	}
}

// openNamed builds an entry of a composition, or its entry point if the name is "".
func openNamed(ctx context.Context, c *Composition, name string, o Options) (*store.Store, error) {
	e, err := c.entry(name)
	if err != nil {
		return nil, err
	}
	return build(ctx, e, o)
}
