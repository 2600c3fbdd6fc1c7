package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store"
)

// Every mistake is reported, in its own line and with its table.
func TestLoadRefuses(t *testing.T) {
	for _, tt := range slices.Concat(wrongTables(), wrongReferences(), wrongValues()) {
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

// mistake is a composition file that is refused.
type mistake struct {
	name, text string
	want       []string // the lines of the error
}

// wrongTables are mistakes in tables and keys.
func wrongTables() []mistake {
	return []mistake{
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
			[]string{`stores.a: unknown key "paht": want path, object_store_url, object_store_options, single_writer, size_rule`, `stores.b: unknown key "x.y": want type, or url alone`}},
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
	}
}

// wrongReferences are mistakes in what refers to what.
func wrongReferences() []mistake {
	return []mistake{
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
		{"one name, two stores", "[stores.a]\ntype='memory'\n[blobservices.a]\ntype='memory'",
			[]string{"blobservices.a: stores.a has the same name"}},
	}
}

// wrongValues are mistakes in values and URLs.
func wrongValues() []mistake {
	return []mistake{
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
				`directoryservices.e: line 18: timeout "true": want a number of seconds, at most a day`,
				"directoryservices.f: channel_size: want a whole number from 1 on, not 0"}},
		{"values that say nothing", "[stores.a]\ntype='packed'\npath=''\n[stores.b]\ntype='cache'\nnear=''\nfar='a'\n" +
			"[directoryservices.c]\ntype='bigtable'\napp_profile_id=''\n" +
			"[stores.d]\ntype='objectstore'\nobject_store_url='s3://b'\nobject_store_options={aws_region=''}",
			[]string{"stores.a: path: has no value", "stores.b: near: has no value", "directoryservices.c: app_profile_id: has no value",
				`stores.d: parameter "aws_region" has no value`}},
		{"parts of URLs", "[stores.a]\ntype='grpc'\nurl='grpc+ftp://host'\n[stores.b]\ntype='grpc'\nurl='grpc+http://host?packages=x'\n" +
			"[stores.c]\ntype='objectstore'\nobject_store_url='file://host/p'\n[stores.d]\ntype='objectstore'\nobject_store_url='packed:/p'\n" +
			"[stores.e]\nurl='packed+ftp://host/p'\n[stores.f]\ntype='cache'\nnear='packed:/p?x'\nfar='memory:'\n[stores.g]\ntype='grpc'\nurl='host:80'",
			[]string{`stores.a: unknown scheme "grpc+ftp": want grpc+http, grpc+https, grpc+unix`,
				`stores.b: unknown parameter "packages": want wait-connect, package, token-path, tls-ca-cert-path, tls-client-cert-path, tls-client-key-path`,
				"stores.c: objectstore+file takes no host: want objectstore+file:/path",
				`stores.d: unknown scheme "objectstore+packed": want objectstore+az, objectstore+file, objectstore+gs, objectstore+http, objectstore+https, objectstore+memory, objectstore+s3`,
				`stores.e: url "packed+ftp://host/p": unknown scheme "packed+ftp": want packed, packed+az, packed+file, packed+gs, packed+memory, packed+s3`,
				`stores.g: unknown scheme "host": want grpc+http, grpc+https, grpc+unix`,
				`stores.f: near "packed:/p": packed takes no query: want packed:/path`}},
	}
}
