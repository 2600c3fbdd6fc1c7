package cmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/ingest"
	"castar/store"
	"castar/store/config"
	"castar/store/storetest"
	"castar/store/tree"
)

// damageSources are two trees. Of the second one little is new, so that the store keeps an index of its own for it.
func damageSources(t *testing.T) []string {
	t.Helper()
	noise := make([]byte, 700<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	var text bytes.Buffer
	for i := 0; text.Len() < 700<<10; i++ {
		fmt.Fprintf(&text, "line %d %x\n", i, noise[i%1000])
	}
	files := map[string][]byte{
		"one/a": []byte("a\n"), "one/again": []byte("a\n"), "one/empty": nil,
		"one/sub/b": []byte("some b\n"), "one/sub/deep/c": []byte("some c\n"), "one/sub/deep/copy": []byte("some b\n"),
		"one/noise": noise, "one/text": text.Bytes(), "one/part": noise[:100<<10],
		"two/a": []byte("a\n"), "two/new": []byte("new\n"), "two/dir/other": []byte("other\n"),
	}
	for i := range 10 {
		files[fmt.Sprintf("one/many/%d", i)] = fmt.Appendf(nil, "file %d", i)
	}
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, data, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	return []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
}

// ingestInto stores trees in the store at dir, each under the tag of its last name, and syncs it after each.
func ingestInto(t *testing.T, dir string, sources ...string) {
	t.Helper()
	ctx := context.Background()
	st, err := config.Open(ctx, dir, config.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, src := range sources {
		r, err := ingest.FS(ctx, st, src, ingest.Options{})
		if err == nil {
			tag := store.Tag{Name: filepath.Base(src), Root: r.Root}
			err = errors.Join(st.Sync(ctx), st.Tags.Record(ctx, tag), st.Tags.Set(ctx, tag))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// storeFile is a file of a store.
type storeFile struct {
	path string // in the store
	kind string // the folder it is in, or its own name
	data []byte
}

func storeFiles(t *testing.T, dir string) (files []storeFile) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		kind, _, _ := strings.Cut(name, "/")
		data, err := os.ReadFile(path)
		if kind != "lock" {
			files = append(files, storeFile{name, kind, data})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// spoiling is one way to spoil a file.
type spoiling struct {
	name string
	do   func(path string, data []byte) error
	// What verify must find, of what there is to find: nothing at all where harmless is set.
	harmless bool
	what     store.DamageKind
}

// writeOver makes a file anew: the one that is there may be a link to the pristine one.
func writeOver(path string, data []byte) error {
	return errors.Join(os.RemoveAll(path), os.WriteFile(path, data, 0o600))
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 0x10
	return data
}

// spoilings returns the ways to spoil a file, whatever it is.
func spoilings(f storeFile) []spoiling {
	what := map[string]store.DamageKind{
		"packs": store.DamagePack, "index": store.DamageIndex, "tags": store.DamageTag, "log": store.DamageLog, "config": store.DamageConfig,
	}[f.kind]
	cut := func(n int) func(string, []byte) error {
		return func(path string, data []byte) error { return writeOver(path, data[:n]) }
	}
	all := []spoiling{
		{name: "cut to nothing", do: cut(0), what: what},
		{name: "cut to half", do: cut(len(f.data) * 2 / 5), what: what},
		{name: "cut by one byte", do: cut(len(f.data) - 1), what: what},
		{name: "longer", do: func(path string, data []byte) error { return writeOver(path, append(slices.Clone(data), "more"...)) }, what: what},
		{name: "deleted", do: func(path string, _ []byte) error { return os.Remove(path) }, what: what},
		{name: "a directory", do: func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, what: what},
		{name: "a dangling symlink", do: func(path string, _ []byte) error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) }, what: what},
		{name: "a symlink out of the store", do: func(path string, data []byte) error {
			away := filepath.Join(filepath.Dir(filepath.Dir(path)), "..", "away")
			return errors.Join(os.WriteFile(away, data, 0o600), os.Remove(path), os.Symlink(away, path))
		}, what: what},
	}
	for i := range all {
		d := &all[i]
		switch {
		case f.kind == "packs" && d.name == "longer":
			d.harmless = true
		case (f.kind == "tags" || f.kind == "log") && (d.name == "deleted"):
			d.harmless = true // nobody can know
		case (f.kind == "tags" || f.kind == "log" || f.kind == "config") && d.name == "cut by one byte":
			d.harmless = true // it is the newline
		case f.kind == "log" && d.name == "cut to nothing":
			d.harmless = true
		case f.kind == "index" && d.name == "deleted":
			d.what = store.DamageMissing // nobody can know what there was
		}
	}
	return all
}

// regions returns an offset in each region of a file of the store, and what is damaged if a byte there is not right.
func regions(t *testing.T, f storeFile) []spoiling {
	t.Helper()
	var all []spoiling
	add := func(name string, at int, what store.DamageKind) {
		all = append(all, spoiling{name: "flipped " + name, what: what,
			do: func(path string, data []byte) error { return writeOver(path, flipped(data, at)) }})
	}
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(f.data[at:])) }
	n := len(f.data)
	switch f.kind {
	case "packs": // see store/packed/frame.go
		add("magic", 3, store.DamagePack)
		add("version", 8, store.DamagePack)
		add("role", 12, store.DamagePack)
		for at, frame := 16, 0; at < n; frame++ {
			count, start, stored := u32(at+8), u32(at+12), u32(at+16)
			region := func(name string, offset int, what store.DamageKind) {
				add(fmt.Sprintf("%s of frame %d", name, frame), at+offset, what)
			}
			if frame == 0 {
				for name, offset := range map[string]int{"magic": 0, "kind": 4, "codec": 5, "count": 8, "start": 13, "stored": 16, "raw": 20, "payload sum": 24, "head sum": 28} {
					region(name, offset, store.DamageFrame)
				}
			}
			region("digest", 32, store.DamageFrame)
			region("last size", 32+count*36-4, store.DamageFrame)
			if start > 32+count*36 {
				region("padding", start-1, store.DamageFrame)
			}
			if stored > 0 {
				region("first byte", start, "")
				region("middle", start+stored/2, "")
				region("last byte", start+stored-1, "")
			}
			at += start + stored
		}
	case "index": // see store/packed/index.go
		foot := n - 64
		packs, frames := u32(foot+12), u32(foot+16)
		blobs := int(binary.LittleEndian.Uint64(f.data[foot+24:]))
		refs := 16 * packs
		tables := refs + 28*frames
		add("pack", 3, store.DamageIndex)
		add("length of a pack", 8, store.DamageIndex)
		for name, offset := range map[string]int{"pack": 0, "offset": 4, "start": 12, "stored": 16, "raw": 20, "kind": 24, "codec": 25} {
			add("frame's "+name, refs+offset, store.DamageIndex)
		}
		for name, offset := range map[string]int{"key": 10, "frame": 32, "offset": 36, "size": 40} {
			add("blob's "+name, tables+offset, store.DamageIndex)
			add("directory's "+name, tables+blobs+offset, store.DamageIndex)
		}
		add("foot of the blobs", tables+blobs-20, store.DamageIndex)
		add("fan-out of the blobs", tables+blobs-34, store.DamageIndex)
		add("foot of the directories", foot-20, store.DamageIndex)
		for name, offset := range map[string]int{"magic": 0, "version": 8, "sum": 20, "epoch": 40, "foot sum": 60} {
			add("foot's "+name, foot+offset, store.DamageIndex)
		}
	default:
		add("checksum", 3, all3(f.kind))
		add("middle", n/2, all3(f.kind))
	}
	return all
}

func all3(kind string) store.DamageKind {
	return map[string]store.DamageKind{"tags": store.DamageTag, "log": store.DamageLog, "config": store.DamageConfig}[kind]
}

// raceStep is one in how many cases of a matrix is tried under the race detector.
const raceStep = 32

// TestDamage spoils a store in every way, one at a time, and compares what verify says with what can be read.
func TestDamage(t *testing.T) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // hundreds of stores are synced; that they are is tested elsewhere
	}
	sources := damageSources(t)
	pristine := filepath.Join(t.TempDir(), "store")
	ingestInto(t, pristine, sources...)
	files := storeFiles(t, pristine)
	whole := readable(t, pristine)
	for path, err := range whole {
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if v := verifyStore(t, pristine, tree.VerifyOptions{}); len(v.findings) > 0 || v.result.Directories < 5 || v.result.Assembled != 2 {
		t.Fatalf("a sound store: %+v", v)
	}
	kinds := map[string]int{}
	n := 0
	for i, f := range files {
		kinds[f.kind]++
		cases := append(spoilings(f), regions(t, f)...)
		for _, other := range files[:i] {
			if other.kind == f.kind {
				cases = append(cases, spoiling{name: "swapped with " + other.path, harmless: f.kind == "index", do: func(path string, data []byte) error {
					otherPath := filepath.Join(strings.TrimSuffix(path, f.path), other.path)
					return errors.Join(os.Remove(otherPath), writeOver(path, other.data), writeOver(otherPath, data))
				}})
			}
		}
		for _, d := range cases {
			if n++; storetest.UnderRace && n%raceStep != 0 {
				continue
			}
			t.Run(f.path+"/"+d.name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				t.Parallel()
				copyStore(t, pristine, dir, files)
				if err := d.do(filepath.Join(dir, f.path), f.data); err != nil {
					t.Fatal(err)
				}
				checkDamage(t, dir, d)
				if mendSpoilt(t, dir, pristine, sources, d) {
					checkMended(t, dir, whole)
				}
			})
		}
	}
	if kinds["packs"] != 4 || kinds["index"] != 2 || kinds["tags"] != 2 || kinds["log"] != 1 || kinds["config"] != 1 {
		t.Errorf("the store has %v", kinds)
	}
}

// copyStore makes a copy of a store. Packs and indexes, which nobody writes to, are links.
func copyStore(t *testing.T, from, to string, files []storeFile) {
	t.Helper()
	for _, sub := range []string{"packs", "index", "tags", "tmp"} {
		if err := os.MkdirAll(filepath.Join(to, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		path, err := filepath.Join(to, f.path), error(nil)
		if f.kind == "packs" || f.kind == "index" {
			err = os.Link(filepath.Join(from, f.path), path)
		} else {
			err = os.WriteFile(path, f.data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// verification is what verify said.
type verification struct {
	findings []tree.Finding
	harmless []tree.Finding
	result   tree.VerifyResult
}

func verifyStore(t *testing.T, dir string, o tree.VerifyOptions) (v verification) {
	t.Helper()
	ctx := context.Background()
	st, err := config.Open(ctx, dir, config.Options{Tolerate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	v.result, err = tree.Verify(ctx, st, o, func(f tree.Finding) {
		if f.Harmless {
			v.harmless = append(v.harmless, f)
		} else {
			v.findings = append(v.findings, f)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// hits returns the paths that verify names, as tag:path.
func (v verification) hits() map[string]bool {
	hits := map[string]bool{}
	for _, f := range v.findings {
		for _, h := range f.Hits {
			for _, root := range h.Roots {
				for _, p := range h.Paths {
					hits[root+":"+p] = true
				}
			}
		}
	}
	return hits
}

// has reports whether verify found something of a kind.
func (v verification) has(what store.DamageKind) bool {
	return slices.ContainsFunc(v.findings, func(f tree.Finding) bool { return f.What == what })
}

func (v verification) String() string {
	var b strings.Builder
	for _, f := range v.findings {
		fmt.Fprintf(&b, "%s %s at %s: %v %v\n", f.What, f.Digest, f.Where, f.Err, f.Hits)
	}
	return b.String()
}

// readable reads everything in the trees of all tags, as exports do, and returns what became of each path: of every file,
// and of every directory that could not be had.
func readable(t *testing.T, dir string) map[string]error {
	t.Helper()
	ctx := context.Background()
	st, err := config.Open(ctx, dir, config.Options{ReadOnly: true, Tolerate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	got := map[string]error{}
	var read func(path string, n store.Node)
	read = func(path string, n store.Node) {
		if n.Kind == store.KindFile {
			b, err := st.Blobs.Open(ctx, n.Digest)
			if err == nil {
				_, err = b.WriteTo(io.Discard)
			}
			got[path] = err
			return
		}
		d, err := st.Directories.Get(ctx, n.Digest)
		if err != nil {
			got[path] = err
		}
		for _, e := range d {
			read(strings.ReplaceAll(path+"/"+e.Name, ":/", ":"), e)
		}
	}
	for tag, err := range st.Tags.All(ctx) {
		if err == nil {
			read(tag.Name+":", tag.Root)
		}
	}
	return got
}

func failed(got map[string]error) map[string]bool {
	f := map[string]bool{}
	for path, err := range got {
		if err != nil {
			f[path] = true
		}
	}
	return f
}

// checkDamage compares what verify says of a spoilt store with what can be read.
func checkDamage(t *testing.T, dir string, d spoiling) {
	t.Helper()
	want := failed(readable(t, dir))
	v := verifyStore(t, dir, tree.VerifyOptions{})
	if got := v.hits(); !sameKeys(got, want) {
		t.Errorf("verify names\n%v\nbut what cannot be read is\n%v\n%v", keys(got), keys(want), v)
	}
	if d.harmless != (len(v.findings) == 0) {
		t.Errorf("harmless %v, but found:\n%v", d.harmless, v)
	}
	if !d.harmless && d.what != "" && !v.has(d.what) {
		t.Errorf("want a finding of %s, got\n%v", d.what, v)
	}
	for path, err := range readable(t, dir) { // now that it is in the quarantine
		var corrupt *store.CorruptError
		switch {
		case (err != nil) != want[path]:
			t.Errorf("%s: %v after verify", path, err)
		case err != nil && !errors.As(err, &corrupt) && !store.IsNotFound(err):
			t.Errorf("%s: %v", path, err)
		}
	}
	again := verifyStore(t, dir, tree.VerifyOptions{ScrubOptions: store.ScrubOptions{NoRecord: true}})
	if got := again.hits(); !sameKeys(got, want) || len(again.findings) != len(v.findings) {
		t.Errorf("the second verify says\n%v\nand the first said\n%v", again, v)
	}
}

// mendSpoilt brings back what a spoilt store has lost: every other time by ingesting the same trees again, otherwise from
// another store. It reports false where that takes more.
func mendSpoilt(t *testing.T, dir, good string, sources []string, d spoiling) bool {
	t.Helper()
	if len(d.name)%2 == 0 {
		want := 0
		if d.what == store.DamageLog && d.name == "a dangling symlink" {
			want = 3 // the log is lost, and no other store has it
		}
		if status, _, errs := castar("repair", "-q", "-s", dir, "--from", good); status != want {
			t.Errorf("repair: %d, want %d\n%s", status, want, errs)
		}
		return true
	}
	st, err := config.Open(context.Background(), dir, config.Options{})
	if err != nil || d.what == store.DamageTag || d.what == store.DamageLog {
		return false
	}
	st.Close()
	ingestInto(t, dir, sources...)
	return true
}

// checkMended reads and verifies a store from which nothing is lost. There may be damage that takes repair, such as an
// index with a wrong checksum.
func checkMended(t *testing.T, dir string, whole map[string]error) {
	t.Helper()
	got := readable(t, dir)
	for path, err := range got {
		if err != nil {
			t.Errorf("mended: %s: %v", path, err)
		}
	}
	if len(got) != len(whole) {
		t.Errorf("mended: there are %d paths, want %d", len(got), len(whole))
	}
	v := verifyStore(t, dir, tree.VerifyOptions{})
	for _, f := range v.findings {
		if f.Kind != 0 || f.Hits != nil {
			t.Errorf("mended:\n%v", v)
			break
		}
	}
}

func sameKeys(a, b map[string]bool) bool { return slices.Equal(keys(a), keys(b)) }

func keys(m map[string]bool) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// TestVerifyBeside verifies a store again and again while it grows. What is half done is no damage.
func TestVerifyBeside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	src := t.TempDir()
	ingestInto(t, dir, src)
	done := make(chan error)
	go func() {
		ctx := context.Background()
		for i := range 30 {
			err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), fmt.Appendf(nil, "file %d", i), 0o600)
			st, oerr := config.Open(ctx, dir, config.Options{})
			if err = errors.Join(err, oerr); err == nil {
				var r ingest.Result
				if r, err = ingest.FS(ctx, st, src, ingest.Options{}); err == nil {
					err = st.Sync(ctx)
				}
				err = errors.Join(err, st.Tags.Set(ctx, store.Tag{Name: fmt.Sprint("t", i), Root: r.Root}), st.Close())
			}
			if err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for {
		if v := verifyStore(t, dir, tree.VerifyOptions{}); len(v.findings) > 0 {
			t.Errorf("found:\n%v", v)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if v := verifyStore(t, dir, tree.VerifyOptions{}); len(v.findings) > 0 || v.result.Roots != 31 {
				t.Errorf("at the end: %+v", v)
			}
			return
		default:
		}
	}
}
