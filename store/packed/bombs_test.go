package packed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/storetest"
	"castar/store/table"

	streams "github.com/klauspost/compress/zstd"
)

// A bomb is a store of few bytes that says it has very many, all under right checksums. Each is to be opened, verified,
// read, collected and repaired in this much memory and processor time.
const (
	bombMemory = 500 << 20
	bombTime   = 10 * time.Second
)

// zeros returns a zstd frame of n zeros, four bytes for each 128 KiB.
func zeros(n int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38} // a window of 128 KiB
	for left := n; ; {
		size := min(left, 128<<10)
		left -= size
		head := uint32(size)<<3 | 1<<1
		if left == 0 {
			head |= 1
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
		if left == 0 {
			return b
		}
	}
}

// repeated returns a zstd frame of a piece that comes n times.
func repeated(t testing.TB, piece []byte, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := streams.NewWriter(&b, streams.WithEncoderCRC(false), streams.WithWindowSize(1<<20), streams.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	many := bytes.Repeat(piece, 1<<10)
	for ; n > 0; n -= 1 << 10 {
		if _, err := w.Write(many[:len(piece)*min(n, 1<<10)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bombFrame is a frame of a bomb.
type bombFrame struct {
	kind    pack.Kind
	items   []pack.Item
	payload []byte
	raw     uint32 // 0: what the items add up to
	plain   bool   // not compressed
}

// bomb is a store with one pack of such frames, and with an index of it or none. The tag reaches the first item of each.
type bomb struct {
	frames  []bombFrame
	noIndex bool
	spoil   func(dir string) error // may be nil
}

// one is a frame with one item of n bytes, which has any digest.
func one(k pack.Kind, n uint32, payload []byte) bombFrame {
	return bombFrame{kind: k, items: []pack.Item{{Digest: store.Sum(fmt.Append(nil, k, n)), Size: n}}, payload: payload}
}

// write makes the bomb in a folder.
func (b bomb) write(t *testing.T, dir string) {
	t.Helper()
	st := open(t, dir, Options{Create: true})
	var root store.Directory
	for i, f := range b.frames {
		n := store.Node{Kind: store.KindFile, Name: fmt.Sprintf("%05d", i), Digest: f.items[0].Digest, Size: uint64(f.items[0].Size)}
		if f.kind == pack.KindDirectory {
			n.Kind = store.KindDirectory
		}
		root = append(root, n)
	}
	d, err := st.Directories.Put(t.Context(), root)
	if err == nil {
		err = st.Tags.Set(t.Context(), store.Tag{Name: "bomb", Root: store.Node{Kind: store.KindDirectory, Digest: d, Size: 1 << 20}, Time: time.Now()})
	}
	if err := cmp.Or(err, st.Sync(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	id, role := pack.ID{'B', 'O', 'M', 'B'}, pack.RoleData
	if len(b.frames) > 0 {
		role = b.frames[0].kind.Role()
	}
	pk, refs := pack.AppendPackHead(nil, role), []pack.Frame(nil)
	builders := map[pack.Kind]*table.Builder{}
	for k := range index.Tables {
		builders[k], _ = table.NewBuilder(table.Shape{Key: store.DigestSize, Value: 12}, 1<<20, func() (table.Spill, error) { return nil, errors.New("too much") })
	}
	for n, f := range b.frames {
		h := pack.FrameHead{Kind: f.kind, Codec: pack.Zstd, Stored: uint32(len(f.payload)), Raw: f.raw, Items: f.items, PayloadSum: pack.Checksum(f.payload)}
		if f.plain {
			h.Codec = pack.Plain
		}
		h.Start = uint32(pack.FrameHeadLen + len(f.items)*pack.ItemLen)
		offset := uint32(0)
		for _, it := range f.items {
			if f.raw == 0 {
				h.Raw += it.Size
			}
			value := binary.LittleEndian.AppendUint32(nil, uint32(n))
			value = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(value, offset), it.Size)
			if err := builders[f.kind&pack.KindDirectory].Add(it.Digest[:], value); err != nil {
				t.Fatal(err)
			}
			offset += it.Size
		}
		refs = append(refs, h.At(id, int64(len(pk))))
		pk = append(pack.AppendFrameHead(pk, &h), f.payload...)
	}
	err = os.WriteFile(filepath.Join(dir, id.Path()), pk, 0o600)
	if err == nil && !b.noIndex {
		var x bytes.Buffer
		err = index.Write(&x, 0, []index.Part{{
			Packs: []pack.Length{{ID: id, Bytes: int64(len(pk))}}, Frames: len(refs), Frame: func(n int) (pack.Frame, bool) { return refs[n], true },
			Tables: [2][]table.Source{builders[pack.KindData].Sources(), builders[pack.KindDirectory].Sources()},
		}})
		err = cmp.Or(err, os.WriteFile(filepath.Join(dir, index.Path("0000000000000000-bomb"+index.Ext)), x.Bytes(), 0o600))
	}
	if err == nil && b.spoil != nil {
		err = b.spoil(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// many returns n frames as f makes them, each with another digest.
func many(n int, f bombFrame) (all []bombFrame) {
	for i := range n {
		g := f
		g.items = append([]pack.Item(nil), f.items...)
		g.items[0].Digest = store.Sum(fmt.Append(nil, f.kind, i))
		all = append(all, g)
	}
	return all
}

// sparse makes a file in a store longer than it has bytes.
func sparse(name string, size int64) func(dir string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		f, cerr := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err = cmp.Or(err, cerr); err != nil {
			return err
		}
		return errors.Join(f.Truncate(size), f.Close())
	}
}

// bombs are all kinds of frames, of lengths up to what can be said, and other files.
func bombs(t testing.TB) map[string]bomb {
	all := map[string]bomb{}
	sizes, lists := []int{127, 4095}, []int{9, 250}
	for _, k := range []pack.Kind{pack.KindData, pack.KindList, pack.KindDirectory} {
		for _, mib := range sizes {
			f := one(k, uint32(mib)<<20, zeros(mib<<20))
			all[fmt.Sprintf("kind %d of %d MiB", k, mib)] = bomb{frames: many(3, f)}
			all[fmt.Sprintf("kind %d of %d MiB, no index", k, mib)] = bomb{frames: many(3, f), noIndex: true}
		}
		f := one(k, pack.MaxContents, zeros(pack.MaxContents))
		all[fmt.Sprintf("many of kind %d", k)] = bomb{frames: many(60, f)}
		f = one(k, 1<<20, zeros(64<<20))
		all[fmt.Sprintf("kind %d longer than it says", k)] = bomb{frames: many(3, f)}
		f = one(k, 100<<20, zeros(1<<20))
		all[fmt.Sprintf("kind %d shorter than it says", k)] = bomb{frames: many(3, f)}
		f.items = nil
		for i := range 100_000 {
			f.items = append(f.items, pack.Item{Digest: store.Sum(fmt.Append(nil, i)), Size: uint32(pack.MaxRaw(k)) / 100_000})
		}
		n := f.items[0].Size * 100_000
		f.payload = zeros(int(n))
		all[fmt.Sprintf("kind %d of many items", k)] = bomb{frames: []bombFrame{f}}
	}
	chunkOf := pack.AppendList(nil, []store.Chunk{{Digest: store.Sum([]byte("a")), Size: math.MaxUint32}})
	for _, mib := range lists {
		n := mib << 20 / pack.ItemLen
		f := one(pack.KindList, uint32(n*pack.ItemLen), repeated(t, chunkOf, n))
		all[fmt.Sprintf("a list of %d MiB of what is missing", mib)] = bomb{frames: many(4, f)}
	}
	there := pack.AppendList(nil, []store.Chunk{{Digest: store.Sum([]byte("a")), Size: 1}})
	list := one(pack.KindList, 100_000*pack.ItemLen, repeated(t, there, 100_000))
	all["lists of what is there"] = bomb{frames: many(8, list)}
	link := []byte{0x1a, 6, 0x0a, 1, 'a', 0x12, 1, 'b'}
	dir := one(pack.KindDirectory, 100<<20, repeated(t, link, 100<<20/8))
	dir.items[0].Digest = store.Sum(bytes.Repeat(link, 100<<20/8)) // right, but it is no directory
	all["a directory of one name"] = bomb{frames: []bombFrame{dir, dir}}
	all["a long config"] = bomb{spoil: sparse(sealed.ConfigName, 1<<33)}
	all["a long tag"] = bomb{spoil: sparse(sealed.TagPath("bomb"), 1<<33)}
	all["a long line of the log"] = bomb{spoil: sparse(sealed.LogName, 1<<29)}
	all["a long line of the quarantine"] = bomb{spoil: sparse(sealed.QuarantineDir+"/x", 1<<29)}
	all["a long state"] = bomb{spoil: sparse("verify", 1<<33)}
	all["a long index"] = bomb{spoil: sparse(index.Path("1"+index.Ext), 1<<33)}
	return all
}

const bombVar = "CASTAR_TEST_BOMBS"

// TestBombs goes over all bombs in another process, whose memory is measured. That of the race detector is not castar's.
// The limit of the garbage collector is low, so that what counts is what is in use: on a busy machine garbage alone may
// be as much again.
func TestBombs(t *testing.T) {
	storetest.NotUnderRace(t)
	if dir := os.Getenv(bombVar); dir != "" {
		setOff(t, dir)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: the memory that hostile stores take, which only Linux tells")
	}
	dir := t.TempDir()
	for name, b := range bombs(t) {
		b.write(t, filepath.Join(dir, name))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestBombs$", "-test.v")
	cmd.Env = append(os.Environ(), bombVar+"="+dir, "GOMEMLIMIT=128MiB", "GOGC=100")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "MiB") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// setOff does to each store in a folder all that a command may.
func setOff(t *testing.T, dir string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name.Name())
		debug.FreeOSMemory() // what the last one left counts for none
		began := cpuTime(t)
		steps := []struct {
			name string
			step func(context.Context, string) error
		}{{"read", readBomb}, {"verify", scrubBomb}, {"gc", sweepBomb}, {"repair", repairBomb}, {"verify again", scrubBomb}}
		for _, s := range steps {
			used := cpuTime(t)
			if err := s.step(t.Context(), path); err != nil {
				t.Logf("%s: %s: %v", name.Name(), s.name, err)
			}
			if d := cpuTime(t) - used; d > bombTime {
				t.Errorf("%s: %s took %v", name.Name(), s.name, d)
			}
		}
		used := peakMemory(t)
		t.Logf("%s: %d MiB at most until now, %v", name.Name(), used>>20, cpuTime(t)-began)
		if used > bombMemory {
			t.Fatalf("%s: %d MiB", name.Name(), used>>20)
		}
	}
}

// cpuTime returns how long the process has used a processor. How long it takes depends on what else runs.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory returns the most memory that the process has had, in bytes.
func peakMemory(t *testing.T) (n int) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), "VmHWM: %d kB", &n); err == nil {
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
