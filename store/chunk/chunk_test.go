package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"castar/store"
)

// splitmix returns n bytes of the generator splitmix64 with seed 0, as little-endian words.
func splitmix(n int) []byte {
	b := make([]byte, 0, n+8)
	var state uint64
	for len(b) < n {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		b = binary.LittleEndian.AppendUint64(b, z^z>>31)
	}
	return b[:n]
}

// hashes returns n bytes: the SHA-256 of successive big-endian numbers from 0.
func hashes(n int) []byte {
	var b []byte
	for i := uint64(0); len(b) < n; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// counting returns the bytes 0 to 254, 4096 times over.
func counting() []byte {
	var b []byte
	for v := range 255 {
		b = append(b, byte(v))
	}
	return bytes.Repeat(b, 4096)
}

// lengths cuts all of data.
func lengths(c *Cutter, data []byte) []int {
	var ns []int
	for len(data) > 0 {
		n := c.Cut(data)
		ns = append(ns, n)
		data = data[n:]
	}
	return ns
}

// record returns the message in which an object store lists the chunks of a blob: the digest and size of each.
func record(data []byte, ns []int) []byte {
	var b []byte
	for _, n := range ns {
		d := store.Sum(data[:n])
		meta := append([]byte{0x0a, 32}, d[:]...)
		meta = binary.AppendUvarint(append(meta, 0x10), uint64(n))
		b = append(binary.AppendUvarint(append(b, 0x12), uint64(len(meta))), meta...)
		data = data[n:]
	}
	return b
}

// The cut points of the Rust implementation, which tvix and snix use.
func TestGolden(t *testing.T) {
	kib := func(n int) Params { return Params{n << 9, n << 10, n << 11} }
	zeros := make([]byte, 2<<20)
	many := splitmix(3158073)
	two, err := hex.DecodeString("12260a2079445f0f1420045f8be59af5f7915cfd9182c978ece11a21913641e457fa97941080802012260a20832c7fbdbe9a537273cfe0299195a09ba7d08b6da842ab25fea373d739e9c5ac1080e01f")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		data    []byte
		params  Params
		lengths []int  // the first ones, or all of them
		count   int    // of all chunks
		record  string // digest of the record of all chunks, or "" where the lengths are enough
	}{
		{"255 by 4096", counting(), kib(256), []int{524288, 520192}, 2, store.Sum(two).String()},
		{"255 by 4096, small", counting(), kib(1), []int{1130, 1275, 1275}, 820, "f0f62c95cc199aad523b236045d34161544a28e1be4e9dba39c59de1ca0e15cf"},
		{"zeros", zeros, kib(256), []int{524288, 524288, 524288, 524288}, 4, ""},
		{"ones", bytes.Repeat([]byte{1}, 600000), kib(256), []int{524288, 75712}, 2, ""},
		{"hashes", hashes(4 << 20), kib(256), []int{300369, 280185, 223385, 205363, 321680, 319739, 315571, 313612, 277184, 287192, 508036, 289414, 471079, 81495}, 14, "6e80125d9fbde11ae7837baf5336beaa0f3c033022a4c2da5c384717ab3a6d26"},
		{"splitmix", many, kib(256), []int{263641, 459576, 320113, 418623, 266975, 447401, 175474, 255295, 133096, 283577, 134302}, 11, ""},
		{"splitmix, small", many, kib(64), []int{115493, 131072, 74199, 102836, 74240, 89798, 96841, 38738, 44277, 54294, 131072, 73154}, 39, ""},
		{"splitmix, large", many, kib(1024), []int{1560056, 791747, 806270}, 3, ""},
		{"less than the minimum", many[:131072], kib(256), []int{131072}, 1, ""},
		{"empty", nil, kib(256), nil, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lengths(cutterOf(tt.params), tt.data)
			if len(got) != tt.count || !slices.Equal(got[:min(len(got), len(tt.lengths))], tt.lengths) {
				t.Fatalf("%d chunks of lengths %v, want %d of %v", len(got), got[:min(len(got), 20)], tt.count, tt.lengths)
			}
			if d := store.Sum(record(tt.data, got)).String(); tt.record != "" && d != tt.record {
				t.Errorf("digest of the record %s, want %s", d, tt.record)
			}
		})
	}
	if d := store.Sum(zeros).String(); d != "8ac83f8ce09d064b023ab3c15880b02f2686cd1817fd25915b8153316ee059f8" {
		t.Errorf("zeros have digest %s", d)
	}
	if sum := sha256.Sum256(many); fmt.Sprintf("%x", sum) != "76e29c2d2d514a7cd9056e47805a0593c4649a8fc470294e0de39a806b0e601b" {
		t.Errorf("splitmix has sum %x", sum)
	}
}

// reference finds the cut by the definition: in steps of two bytes, with the index halved, and with the mask shifted
// for the first of the two.
//
//go:norace
func reference(c *Cutter, data []byte) int {
	n := len(data)
	if n <= c.params.Min {
		return n
	}
	n = min(n, c.params.Max)
	gear := c.gear()
	half := func(from, to int, h, mask uint64) (int, uint64) {
		for i := from; i < to; i++ {
			h = h<<2 + gear[data[2*i]]<<1
			if h&(mask<<1) == 0 {
				return 2 * i, h
			}
			h += gear[data[2*i+1]]
			if h&mask == 0 {
				return 2*i + 1, h
			}
		}
		return 0, h
	}
	middle := min(c.params.Avg, n) / 2
	at, h := half(c.params.Min/2, middle, 0, c.early)
	if at == 0 {
		at, _ = half(middle, n/2, h, c.late)
	}
	if at == 0 {
		return n
	}
	return at
}

// inputs returns data that is cut in different ways: random, of few values, and mixed.
func inputs(n int) map[string][]byte {
	rng := rand.NewChaCha8([32]byte{7})
	random, few := make([]byte, n), make([]byte, n)
	rng.Read(random)
	rng.Read(few)
	for i := range few {
		few[i] &= 1
	}
	mixed := slices.Clone(random)
	clear(mixed[n/4 : n/2])
	return map[string][]byte{"random": random, "few values": few, "mixed": mixed}
}

func TestAgainstReference(t *testing.T) {
	avgs := []int{512, 513, 700, 724, 725, 1 << 10, 3001, 4 << 10, 5793, 16 << 10, 50000, 64 << 10, 256 << 10, 300001, 1 << 20, 2 << 20}
	for kind, data := range inputs(5 << 20) {
		for _, avg := range avgs {
			p, err := ParamsFor(avg)
			if err != nil {
				t.Fatal(err)
			}
			c := cutterOf(p)
			for rest := data[:min(len(data), 12*avg+3)]; len(rest) > 0; {
				n, want := c.Cut(rest), reference(c, rest)
				if n != want {
					t.Fatalf("%s, average %d, %d bytes from the end: %d, want %d", kind, avg, len(rest), n, want)
				}
				rest = rest[n:]
			}
		}
	}
}

func TestOddParamsAgainstReference(t *testing.T) {
	data := inputs(1 << 20)["random"]
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		p := Params{Avg: MinAvg + rng.IntN(60000)}
		p.Min = 64 + rng.IntN(p.Avg-63)
		p.Max = p.Avg + rng.IntN(2*p.Avg)
		c := cutterOf(p)
		rest := data[:rng.IntN(len(data))]
		for len(rest) > 0 {
			n, want := c.Cut(rest), reference(c, rest)
			if n != want {
				t.Fatalf("%+v, %d bytes from the end: %d, want %d", p, len(rest), n, want)
			}
			rest = rest[n:]
		}
	}
}

func TestParams(t *testing.T) {
	if p, err := ParamsFor(256 << 10); err != nil || p != Default() {
		t.Errorf("for 256 KiB: %v, %v, want the default", p, err)
	}
	for _, avg := range []int{-1, 0, 511, 2<<20 + 1, math.MaxInt} {
		if p, err := ParamsFor(avg); err == nil || p != (Params{}) {
			t.Errorf("for %d: %v, %v, want an error", avg, p, err)
		}
		if _, err := NewCutter(avg); err == nil {
			t.Errorf("a cutter for %d: want an error", avg)
		}
	}
}

// Each mask has as many bits as its index, and no bit that depends on more bytes than scan starts its second stripe
// with.
func TestMasks(t *testing.T) {
	for n := 8; n <= 22; n++ {
		m := mask(n)
		if bits.OnesCount64(m) != n || m>>warm != 0 {
			t.Errorf("mask of %d bits is %#x", n, m)
		}
	}
}

// An input is cut at the same points however it is written, and the length of each chunk is within the bounds.
func FuzzWriter(f *testing.F) {
	f.Add([]byte{}, uint32(512), uint16(1))
	f.Add(splitmix(20000), uint32(512), uint16(1000))
	f.Add(make([]byte, 9000), uint32(1000), uint16(4096))
	f.Add(hashes(70000), uint32(8191), uint16(65535))
	f.Fuzz(func(t *testing.T, data []byte, avg uint32, step uint16) {
		p, err := ParamsFor(MinAvg + int(avg)%(8<<10))
		if err != nil {
			t.Fatal(err)
		}
		c := cutterOf(p)
		want := lengths(c, data)
		for at, i := 0, 0; i < len(want); i++ {
			if n := reference(c, data[at:]); n != want[i] {
				t.Fatalf("piece %d: %d bytes, want %d", i, want[i], n)
			}
			if n := want[i]; n > p.Max || n < p.Min&^1 && i < len(want)-1 {
				t.Fatalf("piece %d has %d bytes, out of bounds", i, n)
			}
			at += want[i]
		}
		pool := NewPool(c, make(chan struct{}, 2))
		pool.segment = 4 * p.Max
		to := newShelf()
		w := NewWriter(t.Context(), pool, to)
		for rest := data; len(rest) > 0; rest = rest[min(len(rest), int(step)+1):] {
			if _, err := w.Write(rest[:min(len(rest), int(step)+1)]); err != nil {
				t.Fatal(err)
			}
		}
		to.want(t, w, data, want)
	})
}

func BenchmarkCut(b *testing.B) {
	for kind, data := range inputs(64 << 20) {
		for _, avg := range []int{4 << 10, 16 << 10, 64 << 10, 256 << 10} {
			p, err := ParamsFor(avg)
			if err != nil {
				b.Fatal(err)
			}
			c := cutterOf(p)
			b.Run(fmt.Sprintf("%s-%dK", kind, avg>>10), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					for rest := data; len(rest) > 0; rest = rest[c.Cut(rest):] {
					}
				}
			})
		}
	}
}
