package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"castar/store"
	"castar/store/memory"
	"castar/store/query"
	"castar/store/tier"
)

// table says what an instance is for. It is the name of a table of a composition file.
type table string

const (
	tableBlobs       table = "blobservices"
	tableDirectories table = "directoryservices"
	tableStores      table = "stores"
)

// kind is one kind of store with its parameters: the fields with a toml tag, as a composition file has them.
type kind interface {
	// setURL takes the parameters from a URL. rest follows the scheme and its colon.
	setURL(scheme, rest string) error
	// check reports what is wrong with the parameters.
	check() error
	// uses returns the stores that this one is made of.
	uses() []use
	// fits reports whether the kind has what the table is for.
	fits(t table) bool
	// rule returns the parameter that says how sizes of directories are counted, or nil if it is not given.
	rule() *store.SizeRule
	// detail returns a parameter that identifies the store for people, without secrets.
	detail() string
	// folder returns the folder on this machine that has the objects, or "".
	folder() string
	// landmark returns what identifies that folder. The error is fs.ErrNotExist if the folder has none.
	landmark() (store.Landmark, error)
	// open opens the store. parts are the stores of uses.
	open(ctx context.Context, o Options, parts []*store.Store) (*store.Store, error)
}

// use is a reference to another store.
type use struct {
	key  string // of the parameter
	ref  string // a name, &name, a URL or a path
	need need
	rule bool // the user has the size rule of this store by default
}

// need says what another store is used for.
type need int

const (
	toRead  need = iota
	toWrite      // if its user is written to
	toFill       // as a cache: it is made if it does not exist, and readers write to it
)

// family is a kind of store: how to make one without parameters, and its URLs.
type family struct {
	make func() kind
	urls map[string]form // by scheme; nil: checked by setURL, which refuses them
}

func kinds() map[string]family {
	const (
		server = partHost | partPort | partQuery
		folder = partUser | server | partPath
		bucket = partHost | partPath | partQuery
	)
	return map[string]family{
		"packed": {of[packedKind], map[string]form{
			"packed":        {partPath | partOpaque, 0, "packed:/path"},
			"packed+memory": {partPath | partQuery, 0, "packed+memory:"},
			"packed+file":   {partPath | partQuery, partPath, "packed+file:/path"},
			"packed+s3":     {bucket, partHost, "packed+s3://bucket/path"},
			"packed+gs":     {bucket, partHost, "packed+gs://bucket/path"},
			"packed+az":     {bucket, partHost, "packed+az://container/path"},
		}},
		"memory": {of[memoryKind], map[string]form{"memory": {0, 0, "memory:"}}},
		"objectstore": {of[objectsKind], map[string]form{
			"objectstore+memory": {partPath | partQuery, 0, "objectstore+memory:"}, // tvix and snix allow a slash
			"objectstore+file":   {partPath | partQuery, partPath, "objectstore+file:/path"},
			"objectstore+http":   {folder, partHost, "objectstore+http://HOST/path"},
			"objectstore+https":  {folder, partHost, "objectstore+https://HOST/path"},
			"objectstore+s3":     {bucket, partHost, "objectstore+s3://bucket/path"},
			"objectstore+gs":     {bucket, partHost, "objectstore+gs://bucket/path"},
			"objectstore+az":     {bucket, partHost, "objectstore+az://container/path"},
		}},
		"grpc": {of[grpcKind], map[string]form{
			"grpc+http":  {server, partHost, "grpc+http://HOST:PORT"},
			"grpc+https": {server, partHost, "grpc+https://HOST:PORT"},
			"grpc+unix":  {partPath | partQuery, partPath, "grpc+unix:/SOCKET"},
		}},
		"cache":    {of[cacheKind], map[string]form{"cache": {partQuery, 0, "cache:?near=N&far=F"}}},
		"combined": {make: of[combinedKind]},
		"priority": {of[priorityKind], map[string]form{
			"priority": {partQuery, 0, "priority:?services[0]=A&services[1]=B"},
		}},
		"bigtable": {of[bigtableKind], map[string]form{
			"bigtable": {partHost | partQuery, partHost, "bigtable://INSTANCE?project_id=P&table_name=T&family_name=F"},
		}},
		"redb": {make: func() kind { return &redbKind{foreign: foreign{name: "redb"}} }},
		"sled": {make: func() kind { return &sledKind{foreign{name: "sled"}} }},
	}
}

func of[K any, P interface {
	*K
	kind
}]() kind {
	return P(new(K))
}

// newKind returns a store of the kind of that name, without parameters.
func newKind(name string) (kind, bool) {
	if f, ok := kinds()[name]; ok {
		return f.make(), true
	}
	return nil, false
}

// wantURL lists the URLs that exist.
const wantURL = "want packed:, packed+, memory:, objectstore+, grpc+, cache:, priority:, bigtable:, or a path, such as "

// single has the methods of most kinds: stores that are not made of others, for every table.
type single struct{}

func (single) check() error                      { return nil }
func (single) uses() []use                       { return nil }
func (single) fits(table) bool                   { return true }
func (single) detail() string                    { return "" }
func (single) rule() *store.SizeRule             { return nil }
func (single) folder() string                    { return "" }
func (single) landmark() (store.Landmark, error) { return store.Landmark{}, fs.ErrNotExist }

// ruled is a single kind with a size rule.
type ruled struct {
	single
	Rule *store.SizeRule `toml:"size_rule"`
}

func (k *ruled) rule() *store.SizeRule { return k.Rule }

// memoryKind is a new store in memory.
type memoryKind struct {
	ruled
}

func (k *memoryKind) setURL(string, string) error { return nil }

func (k *memoryKind) open(context.Context, Options, []*store.Store) (*store.Store, error) {
	return memory.New(), nil
}

// cacheKind is a store with another before it, which keeps what is read.
type cacheKind struct {
	Near         string `toml:"near"`
	Far          string `toml:"far"`
	WriteThrough bool   `toml:"write_through"`
	ruled
}

func (k *cacheKind) setURL(_, rest string) error {
	return setQuery(rest, map[string]func(string) error{
		"near": setText(&k.Near), "far": setText(&k.Far), "write_through": setBool(&k.WriteThrough),
		ruleKey: setRule(&k.Rule),
	})
}

func (k *cacheKind) check() error { return query.Missing("near", k.Near, "far", k.Far) }

func (k *cacheKind) uses() []use {
	far := use{key: "far", ref: k.Far, need: toRead, rule: true}
	if k.WriteThrough {
		far.need = toWrite
	}
	return []use{{key: "near", ref: k.Near, need: toFill}, far}
}

func (k *cacheKind) detail() string {
	if k.WriteThrough {
		return "writing through"
	}
	return ""
}

func (k *cacheKind) open(_ context.Context, o Options, parts []*store.Store) (*store.Store, error) {
	return tier.New(parts[0], parts[1], tier.Options{WriteThrough: k.WriteThrough && !o.ReadOnly}), nil
}

// combinedKind is the older name of a cache of blobs.
type combinedKind struct {
	Local        string `toml:"local"`
	Remote       string `toml:"remote"`
	WriteThrough bool   `toml:"write_through"`
	ruled
}

func (k *combinedKind) cache() *cacheKind {
	return &cacheKind{Near: k.Local, Far: k.Remote, WriteThrough: k.WriteThrough}
}

func (k *combinedKind) setURL(string, string) error {
	return errors.New("combined has no URL: cache:?near=...&far=... is the same")
}

func (k *combinedKind) check() error      { return query.Missing("local", k.Local, "remote", k.Remote) }
func (k *combinedKind) fits(t table) bool { return t == tableBlobs }
func (k *combinedKind) detail() string    { return k.cache().detail() }

func (k *combinedKind) uses() []use {
	list := k.cache().uses()
	list[0].key, list[1].key = "local", "remote"
	return list
}

func (k *combinedKind) open(ctx context.Context, o Options, parts []*store.Store) (*store.Store, error) {
	return k.cache().open(ctx, o, parts)
}

// priorityKind has directories of several stores, which are asked in turn.
type priorityKind struct {
	single
	Services map[string]string `toml:"services"` // by priority, a number; the least comes first
}

func (k *priorityKind) setURL(_, rest string) error {
	k.Services = map[string]string{}
	_, text, _ := strings.Cut(rest, "?")
	values, err := query.Parse(text)
	if err != nil {
		return err
	}
	given, err := query.Once(values)
	for key, name := range given {
		prio, ok := strings.CutPrefix(key, "services[")
		prio, closed := strings.CutSuffix(prio, "]")
		if !ok || !closed {
			return fmt.Errorf("unknown parameter %q: want services[N]", key)
		}
		k.Services[prio] = name
	}
	return err
}

func (k *priorityKind) check() error {
	if len(k.Services) == 0 {
		return errors.New("no services")
	}
	seen := map[uint64]string{}
	for _, key := range slices.Sorted(maps.Keys(k.Services)) {
		prio, err := strconv.ParseUint(key, 10, 64)
		if err != nil {
			return fmt.Errorf("services: invalid priority %q: want a number", key)
		}
		if other, twice := seen[prio]; twice {
			return fmt.Errorf("services: priorities %q and %q are the same", other, key)
		}
		seen[prio] = key
	}
	return nil
}

func (k *priorityKind) fits(t table) bool { return t != tableBlobs }

func (k *priorityKind) uses() (list []use) {
	number := func(key string) uint64 { n, _ := strconv.ParseUint(key, 10, 64); return n }
	byNumber := func(a, b string) int { return cmp.Compare(number(a), number(b)) }
	for _, key := range slices.SortedFunc(maps.Keys(k.Services), byNumber) {
		list = append(list, use{key: "services[" + key + "]", ref: k.Services[key], need: toRead})
	}
	return list
}

func (k *priorityKind) open(_ context.Context, _ Options, parts []*store.Store) (*store.Store, error) {
	var list tier.Priority
	id := "priority"
	for _, p := range parts {
		list = append(list, p.Directories)
		id += " " + p.ID
	}
	return &store.Store{ID: hashedID("priority", id), Directories: list}, nil
}

// keys returns the keys that a table of this kind may have, except for type.
func keys(k kind) (names []string) {
	for name := range fields(k) {
		names = append(names, name)
	}
	return names
}

// fields yields the keys of a kind, and the fields with their values.
func fields(k kind) iter.Seq2[string, reflect.Value] {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(k).Elem()
		for _, f := range reflect.VisibleFields(v.Type()) {
			if tag := f.Tag.Get("toml"); tag != "" && tag != "-" && !yield(tag, v.FieldByIndex(f.Index)) {
				return
			}
		}
	}
}

// checkTypes reports a value of the wrong type in the table at path. The library says less about it, and would accept
// anything for a table.
func checkTypes(meta toml.MetaData, path []string, k kind) error {
	types := map[reflect.Kind][2]string{
		reflect.String: {"String", "text in quotes"}, reflect.Bool: {"Bool", "true or false"}, reflect.Map: {"Hash", "a table"},
		reflect.Int: {"Integer", "a whole number"}, reflect.Int64: {"Integer", "a whole number"},
	} // a size rule checks itself
	for key, v := range fields(k) {
		got, want := meta.Type(append(path[:len(path):len(path)], key)...), types[v.Kind()]
		if _, several := v.Interface().(seconds); got != "" && want[0] != "" && got != want[0] && !several {
			return fmt.Errorf("%s: want %s", key, want[1])
		}
	}
	return nil
}

// checkValues reports an empty text or a number below 1 in the table at path.
func checkValues(meta toml.MetaData, path []string, k kind) error {
	for key, v := range fields(k) {
		if !meta.IsDefined(append(path[:len(path):len(path)], key)...) {
			continue
		}
		switch v := v.Interface().(type) {
		case string:
			if v == "" {
				return fmt.Errorf("%s: has no value", key)
			}
		case int:
			if v < 1 {
				return fmt.Errorf("%s: want a whole number from 1 on, not %d", key, v)
			}
		}
	}
	return nil
}
