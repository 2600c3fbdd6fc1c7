package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"castar/store"
)

// Composition is a composition file: named stores, some of them made of others. Each is a table:
//
//	[stores.disk]                 # blobs and directories
//	type = "packed"
//	path = "/var/cache/castar"    # relative to the folder of the file
//
//	[stores.server]
//	url = "grpc+https://host"     # instead of type: any name that Open takes, except for composition files
//
//	[blobservices.default]        # blobs alone
//	type = "combined"
//	local = "disk"                # the name of another instance, also &disk; or a URL or a path
//	remote = "&server"
//
//	[directoryservices.default]   # directories alone
//	type = "cache"
//	near = "disk"
//	far = "&server"
//
// A reference in blobservices or directoryservices means an instance of the same table, or else of stores. In stores it
// means one of stores. An instance of blobservices and one of directoryservices with the same name are one store. Its tags
// are those of its directories, or else of its blobs.
//
// The tables blobservices and directoryservices are those of tvix and snix. They call the entry point default and root.
// Their table pathinfoservices is ignored. Types with their keys:
//
//	packed       path
//	memory
//	objectstore  object_store_url, object_store_options = {}, avg_chunk_size = 262144
//	grpc         url
//	cache        near, far, write_through = false
//	combined     local, remote, write_through = false; the same as cache, for blobs
//	priority     services = {0 = "first", 1 = "second"}; for directories
//	bigtable     project_id, instance_name, table_name, family_name, is_read_only = false, channel_size = 4,
//	             timeout = 4, app_profile_id = "default"; for directories
//	redb, sled   as in tvix and snix; for directories, which castar cannot read: only the programs that write them can
//
// All types except priority, redb and sled also have size_rule = "documented" or "snix": how directories count their sizes
// in trees that are made for the store (see store.SizeRule). By default a packed store has its own rule, a cache that of
// far or remote, and any other store the documented one. A tree follows the rule of the store that has its directories.
type Composition struct {
	file     string
	declared map[string]*node // by full name
	order    []*node          // in the order of the file
}

// Load reads and checks a composition file. It opens nothing that the file names. The error has a line for each fault, with
// the name of an instance and the reason. It is store.ErrNoStore if there is no file.
func Load(path string) (*Composition, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file: %w", path, store.ErrNoStore)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: not a composition file: more than %d bytes", path, maxFile)
	}
	return read(path, string(text))
}

// maxFile is the length of the longest composition file, in bytes. Any file may be taken for one, however long.
const maxFile = 4 << 20

// read is Load for a file with the given text.
func read(path, text string) (*Composition, error) {
	r := reader{
		c: &Composition{file: path, declared: map[string]*node{}}, folder: filepath.Dir(path),
		kinds: map[string]kind{}, broken: map[string]bool{},
	}
	r.read(text)
	p := newPlanner(r.c.declared)
	p.broken = r.broken
	for _, n := range r.c.order {
		p.resolve(n)
	}
	if errs := distinct(path, append(r.errs, p.errs...)); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r.c, nil
}

// distinct returns each error once, with the path before it.
func distinct(path string, errs []error) (rest []error) {
	told := map[string]bool{}
	for _, err := range errs {
		if text := err.Error(); !told[text] {
			told[text] = true
			rest = append(rest, fmt.Errorf("%s: %w", path, err))
		}
	}
	return rest
}

// reader reads a composition file. It collects what is wrong in errs.
type reader struct {
	c      *Composition
	folder string
	meta   toml.MetaData
	kinds  map[string]kind // by full name, of instances with a known type
	broken map[string]bool // by full name, instances that cannot be read
	errs   []error
}

func (r *reader) fail(name string, err error) {
	r.errs = append(r.errs, fmt.Errorf("%s: %w", name, err))
}

func (r *reader) read(text string) {
	var top map[string]toml.Primitive
	var err error
	if r.meta, err = toml.Decode(text, &top); err != nil {
		r.errs = append(r.errs, tomlError(err))
		return
	}
	r.tables(top)
	r.undecoded()
	r.ambiguous()
}

// tables reads the tables of all instances, in the order of the file.
func (r *reader) tables(top map[string]toml.Primitive) {
	instances := map[table]map[string]toml.Primitive{} // those that were not read
	for _, key := range r.meta.Keys() {
		switch t := table(key[0]); t {
		case tableBlobs, tableDirectories, tableStores:
			if len(key) <= 2 && r.meta.Type(key...) != "Hash" {
				r.broken[key.String()] = true
				r.fail(key.String(), errors.New("not a table"))
				continue
			}
			if instances[t] == nil {
				instances[t] = map[string]toml.Primitive{}
				if err := r.meta.PrimitiveDecode(top[key[0]], instances[t]); err != nil {
					r.fail(key[0], tomlError(err))
				}
			}
			if len(key) == 1 {
				continue
			}
			if of, unread := instances[t][key[1]]; unread {
				delete(instances[t], key[1])
				if err := r.instance(t, key[1], of); err != nil {
					r.broken[fullName(t, key[1])] = true
					r.fail(fullName(t, key[1]), tomlError(err))
				}
			}
		case "pathinfoservices":
		default:
			if _, unread := top[key[0]]; unread {
				delete(top, key[0])
				r.fail(key[0], fmt.Errorf("unknown table: want %s, %s or %s", tableStores, tableBlobs, tableDirectories))
			}
		}
	}
}

func fullName(t table, name string) string { return string(t) + "." + name }

// instance reads the table of one instance, and declares it.
func (r *reader) instance(t table, name string, of toml.Primitive) (err error) {
	n := &node{table: t, name: fullName(t, name), folder: r.folder}
	var head struct {
		Type string `toml:"type"`
	}
	if err := r.meta.PrimitiveDecode(of, &head); err != nil {
		return err
	}
	switch {
	case head.Type != "":
		n.typ = head.Type
		n.kind, err = r.typed(n, of)
	case t == tableStores:
		n.typ, n.kind, err = r.url(of)
	default:
		err = errors.New("no type")
	}
	if err == nil {
		r.c.declared[n.name] = n
		r.c.order = append(r.c.order, n)
	}
	return err
}

func (r *reader) typed(n *node, of toml.Primitive) (kind, error) {
	k, ok := newKind(n.typ)
	if !ok {
		return nil, fmt.Errorf("unknown type %q", n.typ)
	}
	if !k.fits(n.table) {
		return nil, fmt.Errorf("type %s is not for %s", n.typ, n.table)
	}
	r.kinds[n.name] = k
	path := []string{string(n.table), n.shortName()}
	if err := checkTypes(r.meta, path, k); err != nil {
		return nil, err
	}
	if err := r.meta.PrimitiveDecode(of, k); err != nil {
		return nil, err
	}
	if err := checkValues(r.meta, path, k); err != nil {
		return nil, err
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	if p, ok := k.(*packedKind); ok {
		p.relativeTo(r.folder)
	}
	return k, nil
}

func (r *reader) url(of toml.Primitive) (string, kind, error) {
	var only struct {
		URL string `toml:"url"`
	}
	if err := r.meta.PrimitiveDecode(of, &only); err != nil {
		return "", nil, err
	}
	if only.URL == "" {
		return "", nil, errors.New("neither type nor url")
	}
	typ, k, err := parseURL(only.URL, r.folder)
	if err != nil {
		return "", nil, fmt.Errorf("url %s: %w", quoteSpec(only.URL), err)
	}
	return typ, k, nil
}

func (r *reader) undecoded() {
	for _, key := range r.meta.Undecoded() {
		if len(key) < 3 {
			continue
		}
		name := fullName(table(key[0]), key[1])
		if k := r.kinds[name]; k != nil {
			if !slices.Contains(keys(k), key[2]) { // otherwise an error before it was reported
				r.fail(name, fmt.Errorf("unknown key %q: want %s", key[2:].String(), cmp.Or(strings.Join(keys(k), ", "), "none but type")))
			}
		} else if r.c.declared[name] != nil {
			r.fail(name, fmt.Errorf("unknown key %q: want type, or url alone", key[2:].String()))
		} // otherwise it was reported, or the table is not castar's
	}
}

// ambiguous reports names in stores that are also in one of the other tables.
func (r *reader) ambiguous() {
	for _, n := range r.c.order {
		name := n.shortName()
		if n.table != tableStores && r.c.declared[fullName(tableStores, name)] != nil {
			r.fail(n.name, fmt.Errorf("%s has the same name", fullName(tableStores, name)))
		}
	}
}

// tomlError returns an error of the TOML library with the line, if that is known.
func tomlError(err error) error {
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("line %d: %s", e.Position.Line, e.Message)
	}
	if text, ok := strings.CutPrefix(err.Error(), "toml: "); ok {
		return errors.New(text)
	}
	return err
}

// entry is a store to be built: one node, or one for blobs and one for directories.
type entry struct {
	name               string
	blobs, directories *node
}

// check refuses a single store with only blobs or only directories. No command can use it.
func (e *entry) check() error {
	if e.blobs != e.directories {
		return nil
	}
	if k, ok := e.blobs.kind.(interface{ refusal() error }); ok {
		return fmt.Errorf("%s: %w", e.blobs.name, k.refusal())
	}
	for t, what := range map[table]string{tableBlobs: "blobs", tableDirectories: "directories"} {
		if !e.blobs.kind.fits(t) {
			return fmt.Errorf("%s: %w: it keeps no %s, which a composition file can add", e.blobs.name, store.ErrUnsupported, what)
		}
	}
	return nil
}

// entryPoints are the names that stand for the whole file, in snix and in tvix.
func entryPoints() []string { return []string{"root", "default"} }

// entry returns the entry of that name, or for "" the entry point of the file.
func (c *Composition) entry(name string) (*entry, error) {
	if name == "" {
		for _, point := range entryPoints() {
			if !c.has(point) {
				continue
			}
			if name != "" {
				return nil, fmt.Errorf("%s: has both %s and %s: say %[1]s#%[2]s or %[1]s#%[3]s", c.file, name, point)
			}
			name = point
		}
		if name == "" {
			return nil, fmt.Errorf("%s: has neither root nor default: say %[1]s#NAME", c.file)
		}
	}
	if n := c.declared[fullName(tableStores, name)]; n != nil {
		e := &entry{name, n, n}
		return e, e.check()
	}
	e := &entry{name, c.declared[fullName(tableBlobs, name)], c.declared[fullName(tableDirectories, name)]}
	switch {
	case e.blobs == nil && e.directories == nil:
		return nil, fmt.Errorf("%s#%s: %w: want one of %s", c.file, name, store.ErrNoStore, strings.Join(c.names(), ", "))
	case e.blobs == nil:
		return nil, fmt.Errorf("%s: %s has no blobs: want a table %s", c.file, e.directories.name, fullName(tableBlobs, name))
	case e.directories == nil:
		return nil, fmt.Errorf("%s: %s has no directories: want a table %s", c.file, e.blobs.name, fullName(tableDirectories, name))
	}
	return e, nil
}

func (c *Composition) has(name string) bool {
	for _, t := range []table{tableStores, tableBlobs, tableDirectories} {
		if c.declared[fullName(t, name)] != nil {
			return true
		}
	}
	return false
}

// names returns the names that entry takes.
func (c *Composition) names() (names []string) {
	for _, n := range c.order {
		name := n.shortName()
		whole := n.table == tableStores && n.kind.fits(tableBlobs) && n.kind.fits(tableDirectories)
		half := n.table == tableBlobs && c.declared[fullName(tableDirectories, name)] != nil
		if (whole || half) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
