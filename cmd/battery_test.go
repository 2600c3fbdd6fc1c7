package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"castar/store"
	"castar/store/config"
	"castar/store/storetest"
)

const (
	// mostMemory and mostTime bound each command on each crafted store, whatever the store says: bytes resident, and
	// processor time, which does not depend on what else the machine does.
	mostMemory = 500 << 20
	mostTime   = 10 * time.Second
	// batteryStep is one in how many crafted stores is tried under the race detector.
	batteryStep = 150
)

// crafted is a store that no castar wrote: all of its digests and checksums are right, and what they cover is not.
type crafted struct {
	name string
	// craft puts what it likes into a store and returns a root, which gets the tag x.
	craft func(t *testing.T, st *store.Store) store.Node
	// spoil changes the files of the closed store, which is the folder dir. It may be nil.
	spoil func(t *testing.T, dir string)
	// endless says that the tree has more paths than anybody can list.
	endless bool
	// random says that there are many like it, which are not tried with every command.
	random bool
}

// TestBattery runs every command that reads a tree on crafted stores, and asserts that each ends in time and memory
// with a status that it documents; that what one command calls whole is whole to the others; and that nothing that
// exports before gc and repair fails to export after them.
func TestBattery(t *testing.T) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // hundreds of stores are synced; that they are is tested elsewhere
	}
	n := 0
	for _, kind := range []string{"packed", "objects"} {
		for _, c := range slices.Concat(craftedTrees(), randomTrees(), craftedFiles(kind)) {
			if n++; storetest.UnderRace && n%batteryStep != 0 {
				continue
			}
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				dir := t.TempDir()
				t.Parallel()
				tryCrafted(t, dir, kind, c)
			})
		}
	}
	if n < 180 {
		t.Errorf("only %d stores", n)
	}
}

// tryCrafted makes a store and tries all commands on it.
func tryCrafted(t *testing.T, dir, kind string, c crafted) {
	spec := filepath.Join(dir, "store")
	if kind == "objects" {
		spec = "objectstore+file:" + spec
	}
	root := makeCrafted(t, filepath.Join(dir, "store"), spec, c)
	run := func(args ...string) int { return runBounded(t, dir, spec, args...) }
	exports := func(to string) string { // returns the digest of what it wrote, which may differ in the sizes
		to = filepath.Join(dir, to)
		if c.endless || run("export", "-q", root, to) != 0 {
			return ""
		}
		out, err := exec.Command("castar", "ingest", "-q", "-n", "--no-cache", to).Output()
		if err != nil {
			t.Errorf("what was exported cannot be read: %v", err)
		}
		return string(out)
	}
	before := exports("before")
	verified := run("verify", "-q", root) == 0
	copied := run("copy", "-q", "--to", filepath.Join(dir, "copy"), root) == 0
	whole := before != "" || c.endless
	if verified && !whole || !verified && whole && c.spoil == nil && !c.endless {
		t.Errorf("verify finds it whole: %v, but it exports: %v", verified, whole)
	}
	if copied && !whole {
		t.Error("it was copied, and does not export")
	}
	if !c.random {
		run("stat", root)
		run("stats")
		run("diff", "--stat", root, "x")
		run("tag")
		run("gc", "-n")
	}
	if !c.random && !c.endless {
		run("ls", "-lR", root)
		run("find", root, "f*")
	}
	if kind == "packed" {
		run("repair", "-q")
		run("gc", "-q")
		run("verify", "-q")
	}
	if before != "" && exports("after") != before {
		t.Error("it exported before gc and repair, and after them it does not, or as something else")
	}
}

// makeCrafted makes a store and returns the digest of its root.
func makeCrafted(t *testing.T, dir, spec string, c crafted) string {
	t.Helper()
	st, err := config.Open(t.Context(), spec, config.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	root := c.craft(t, st)
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Tags.Set(t.Context(), store.Tag{Name: "x", Root: root, Time: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if c.spoil != nil {
		c.spoil(t, dir)
	}
	d, err := root.RootDigest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// runBounded runs a command and returns its exit status.
func runBounded(t *testing.T, dir, spec string, args ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // far more than mostTime, on any machine
	defer cancel()
	var stderr bytes.Buffer
	c := exec.CommandContext(ctx, "castar", append([]string{"-s", spec}, args...)...)
	c.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	c.Stderr = &stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	status := c.ProcessState.ExitCode()
	if !slices.Contains([]int{0, 1, 3, 10}, status) || strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("castar %v: exit status %d\n%.2000s", args, status, stderr.String())
	}
	if used, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok && !storetest.UnderRace {
		if most := used.Maxrss << 10; most > mostMemory {
			t.Errorf("castar %v: %d MB, want at most %d", args, most>>20, mostMemory>>20)
		}
		if took := c.ProcessState.UserTime() + c.ProcessState.SystemTime(); took > mostTime {
			t.Errorf("castar %v: %v of processor time, want at most %v", args, took, mostTime)
		}
	}
	return status
}

// putTree puts a directory into a store, whatever its entries say, and returns a root with the size that is right if all
// that they say of directories is.
func putTree(t *testing.T, st *store.Store, entries ...store.Node) store.Node {
	t.Helper()
	slices.SortFunc(entries, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	d, err := st.Directories.Put(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	size, err := store.Directory(entries).Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
}

// putFile puts a file into a store.
func putFile(t *testing.T, st *store.Store, name string, data []byte) store.Node {
	t.Helper()
	d, err := st.Blobs.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(data))}
}

// as returns n by another name and with another size.
func as(name string, n store.Node, size uint64) store.Node {
	n.Name, n.Size = name, size
	return n
}

func noise(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(data)
	return data
}

// chain returns a tree of n directories below each other.
func chain(n int) func(*testing.T, *store.Store) store.Node {
	return func(t *testing.T, st *store.Store) store.Node {
		root := putTree(t, st, putFile(t, st, "f", []byte("deep")))
		for range n - 1 {
			root = putTree(t, st, as("d", root, root.Size))
		}
		return root
	}
}

// shared returns a tree of n levels, each of which has the one below it several times.
func shared(n, times int) func(*testing.T, *store.Store) store.Node {
	return func(t *testing.T, st *store.Store) store.Node {
		root := putTree(t, st, putFile(t, st, "f", []byte("shared")))
		for range n {
			var entries []store.Node
			size := root.Size
			if size > math.MaxUint64/uint64(2*times) {
				size = math.MaxUint64 / uint64(2*times) // the sum must fit
			}
			for i := range times {
				entries = append(entries, as(fmt.Sprintf("d%d", i), root, size))
			}
			root = putTree(t, st, entries...)
		}
		return root
	}
}

// sized returns a tree of two levels in which the lower directory has this size.
func sized(size func(right uint64) uint64) func(*testing.T, *store.Store) store.Node {
	return func(t *testing.T, st *store.Store) store.Node {
		low := putTree(t, st, putFile(t, st, "f", []byte("a")), putFile(t, st, "g", []byte("b")))
		return putTree(t, st, as("d", low, size(low.Size)))
	}
}

// fileOf returns a tree with one file that is said to be that.
func fileOf(n func(t *testing.T, st *store.Store) store.Node) func(*testing.T, *store.Store) store.Node {
	return func(t *testing.T, st *store.Store) store.Node { return putTree(t, st, n(t, st)) }
}

func craftedTrees() []crafted {
	absent := store.Sum([]byte("nobody has this"))
	all := []crafted{
		{name: "chain of 100", craft: chain(100)},
		{name: "chain of the most levels", craft: chain(store.MaxDepth)},
		{name: "chain of one level more", craft: chain(store.MaxDepth + 1), endless: true},
		{name: "chain of twice the most levels", craft: chain(2 * store.MaxDepth), endless: true},
		{name: "shared 2^10 times", craft: shared(10, 2)},
		{name: "shared 2^40 times", craft: shared(40, 2), endless: true},
		{name: "shared 2^200 times", craft: shared(200, 2), endless: true},
		{name: "shared 200^30 times", craft: shared(30, 200), endless: true},
		{name: "wide", craft: func(t *testing.T, st *store.Store) store.Node {
			f := putFile(t, st, "", []byte("w"))
			var entries []store.Node
			for i := range 20_000 {
				entries = append(entries, as(fmt.Sprintf("f%d", i), f, 1))
			}
			return putTree(t, st, entries...)
		}},
		{name: "longest names", craft: func(t *testing.T, st *store.Store) store.Node {
			root := putTree(t, st, putFile(t, st, strings.Repeat("f", store.MaxNameLen), nil))
			for range 20 {
				root = putTree(t, st, as(strings.Repeat("d", store.MaxNameLen), root, root.Size))
			}
			return root
		}},
		{name: "hostile names", craft: func(t *testing.T, st *store.Store) store.Node {
			f := putFile(t, st, "", []byte("n"))
			return putTree(t, st, as("a\nb", f, 1), as("\x1b]0;x\a", f, 1), as("\xff\xfe", f, 1), as("-rf", f, 1), as("\u202e", f, 1), as(" ", f, 1))
		}},
		{name: "empty", craft: func(t *testing.T, st *store.Store) store.Node { return putTree(t, st) }},
		{name: "hostile links", craft: func(t *testing.T, st *store.Store) store.Node {
			in := putTree(t, st, putFile(t, st, "f", []byte("x")))
			return putTree(t, st,
				store.Node{Name: "a", Kind: store.KindSymlink, Target: "/etc"}, as("b", in, in.Size),
				store.Node{Name: "c", Kind: store.KindSymlink, Target: strings.Repeat("../", 1000)},
				store.Node{Name: "d", Kind: store.KindSymlink, Target: "\x1b[2J"})
		}},
		{name: "missing directory", craft: func(t *testing.T, st *store.Store) store.Node {
			return putTree(t, st, store.Node{Name: "d", Kind: store.KindDirectory, Digest: absent, Size: 3}, putFile(t, st, "f", []byte("x")))
		}},
		{name: "missing root", craft: func(t *testing.T, st *store.Store) store.Node {
			return store.Node{Kind: store.KindDirectory, Digest: absent, Size: 3}
		}},
		{name: "missing file as the root", craft: func(t *testing.T, st *store.Store) store.Node {
			return store.Node{Kind: store.KindFile, Digest: absent, Size: 3}
		}},
		{name: "link as the root", craft: func(t *testing.T, st *store.Store) store.Node {
			return store.Node{Kind: store.KindSymlink, Target: strings.Repeat("t", store.MaxTargetLen)}
		}},
		{name: "file that is a directory", craft: fileOf(func(t *testing.T, st *store.Store) store.Node {
			return store.Node{Name: "f", Kind: store.KindFile, Digest: putTree(t, st, putFile(t, st, "x", nil)).Digest, Size: 40}
		})},
		{name: "directory that is a file", craft: fileOf(func(t *testing.T, st *store.Store) store.Node {
			return store.Node{Name: "d", Kind: store.KindDirectory, Digest: putFile(t, st, "x", noise(100)).Digest, Size: 1}
		})},
		{name: "directory whose message is the file of the same name", craft: func(t *testing.T, st *store.Store) store.Node {
			message, err := store.EncodeDirectory(store.Directory{{Name: "l", Kind: store.KindSymlink, Target: "t"}})
			if err != nil {
				t.Fatal(err)
			}
			low := putTree(t, st, store.Node{Name: "l", Kind: store.KindSymlink, Target: "t"})
			return putTree(t, st, as("d", low, 1), putFile(t, st, "f", message))
		}},
	}
	for name, size := range map[string]func(uint64) uint64{
		"right": func(n uint64) uint64 { return n }, "one less": func(n uint64) uint64 { return n - 1 },
		"one more": func(n uint64) uint64 { return n + 1 }, "zero": func(uint64) uint64 { return 0 },
		"doubled": func(n uint64) uint64 { return 2 * n }, "huge": func(uint64) uint64 { return math.MaxUint64 - 1 },
	} {
		all = append(all, crafted{name: "directory size " + name, craft: sized(size)})
		for length, data := range map[string][]byte{"short": []byte("abc"), "of chunks": noise(2 << 20)} {
			all = append(all, crafted{name: "size of a file " + length + " " + name, craft: fileOf(func(t *testing.T, st *store.Store) store.Node {
				f := putFile(t, st, "f", data)
				return as("f", f, size(f.Size))
			})})
		}
	}
	slices.SortFunc(all, func(a, b crafted) int { return strings.Compare(a.name, b.name) })
	return all
}

// randomTrees are trees in which now and then something is wrong: a size, a kind, or a digest of what is not there.
func randomTrees() (all []crafted) {
	for seed := range uint64(30) {
		all = append(all, crafted{name: fmt.Sprintf("random %d", seed), random: true, craft: func(t *testing.T, st *store.Store) store.Node {
			r := rand.New(rand.NewPCG(seed, 1))
			nodes := []store.Node{putFile(t, st, "", nil), putFile(t, st, "", []byte("some")), putFile(t, st, "", noise(700_000))}
			for range 12 {
				var entries []store.Node
				for i := range r.IntN(5) {
					n := nodes[r.IntN(len(nodes))]
					n.Name = fmt.Sprintf("%c%d", "fd"[r.IntN(2)], i)
					switch r.IntN(60) {
					case 0:
						n.Digest[r.IntN(32)]++
					case 1:
						n.Size += uint64(r.IntN(3)) - 1
					case 2:
						n.Size = r.Uint64() >> (r.IntN(62) + 2)
					case 3:
						n.Kind = store.KindDirectory + store.KindFile - n.Kind
					}
					entries = append(entries, n)
				}
				nodes = append(nodes, putTree(t, st, entries...))
			}
			return nodes[len(nodes)-1]
		}})
	}
	return all
}

// craftedFiles are stores in which a file was replaced by one that nothing but its contents tells from a right one.
func craftedFiles(kind string) (all []crafted) {
	craft := func(t *testing.T, st *store.Store) store.Node {
		low := putTree(t, st, putFile(t, st, "small", []byte("small")), putFile(t, st, "long", noise(2<<20)))
		return putTree(t, st, as("d", low, low.Size), putFile(t, st, "f", []byte("f")))
	}
	parts := []string{"tags"}
	contents := map[string]func(old []byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut":      func(old []byte) []byte { return old[:len(old)/2] },
		"noise":    func(old []byte) []byte { return noise(len(old)) },
		"doubled":  func(old []byte) []byte { return append(old, old...) },
		"long":     func([]byte) []byte { return bytes.Repeat([]byte("x"), 64<<20) },
		"a folder": nil,
	}
	if kind == "objects" {
		parts = []string{"blobs", "chunks", "dirs", "castar/tags"}
		contents["a bomb"] = func([]byte) []byte { return bomb(1 << 30) }
		contents["a wide window"] = func([]byte) []byte { return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0xb0, 1, 0, 0} }
		contents["many chunks"] = func([]byte) []byte { return claims(200_000, 1<<20) }
		contents["huge chunks"] = func([]byte) []byte { return claims(3, 1<<60) }
		contents["a frame of other digests"] = func([]byte) []byte { return frame(bytes.Repeat([]byte{0x0a, 2, 8, 1}, 1000)) }
		contents["many empty frames"] = func([]byte) []byte { return bytes.Repeat(frame(nil), 100_000) }
	}
	for _, part := range parts {
		for name, content := range contents {
			all = append(all, crafted{name: part + " " + name, craft: craft, spoil: func(t *testing.T, dir string) {
				replaceFiles(t, filepath.Join(dir, part), content)
			}})
		}
	}
	slices.SortFunc(all, func(a, b crafted) int { return strings.Compare(a.name, b.name) })
	return all
}

// replaceFiles replaces the first file below a folder, in the order of their names.
func replaceFiles(t *testing.T, folder string, content func([]byte) []byte) {
	t.Helper()
	var first string
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && first == "" {
			first = path
		}
		return err
	})
	if err != nil || first == "" {
		t.Fatalf("%s: no file: %v", folder, err)
	}
	old, err := os.ReadFile(first)
	if err == nil {
		err = os.Remove(first)
	}
	if err == nil && content == nil {
		err = os.Mkdir(first, 0o700)
	} else if err == nil {
		err = os.WriteFile(first, content(old), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// frame returns data as zstd.
func frame(data []byte) []byte {
	enc, _ := zstd.NewWriter(nil) // without options there is no error
	defer enc.Close()
	return enc.EncodeAll(data, nil)
}

// bomb returns a zstd frame of n zeros: blocks of 128 KiB, each a byte that is repeated (RFC 8878, section 3.1.1.2.2).
func bomb(n int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38}
	for size := 128 << 10; n > 0; n -= size {
		head := 1<<1 | size<<3
		if n <= size {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

// claims returns a record of n chunks that nobody has.
func claims(n int, size uint64) (b []byte) {
	for i := range n {
		d := store.Sum(fmt.Appendf(nil, "%d", i))
		m := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), d[:])
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), size)
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), m)
	}
	return b
}
