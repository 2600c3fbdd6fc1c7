package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"
)

// randomBytes returns n bytes that are the same in every run.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// hashLengths are all small lengths, and those around the ends of chunks: of each up to where all lanes have had several
// turns, and then of some, with all kinds of trees above them.
func hashLengths() []int {
	var lengths []int
	for n := range 4101 {
		lengths = append(lengths, n)
	}
	for chunks := 5; chunks <= 1<<10; chunks += 1 + chunks/96 {
		n := chunks << 10
		lengths = append(lengths, n-1, n, n+1)
	}
	return lengths
}

func TestSumEqualsReference(t *testing.T) {
	data := randomBytes(1<<20 + 1)
	var h Hasher
	for _, n := range hashLengths() {
		want := Digest(blake3.Sum256(data[:n]))
		// A slice without room behind it: nothing past its end may matter, nor be needed.
		if got := Sum(data[:n:n]); got != want {
			t.Fatalf("%d bytes: Sum %s, want %s", n, got, want)
		}
		h.Reset()
		h.Write(data[:n])
		if got := h.Sum(); got != want {
			t.Fatalf("%d bytes: Hasher %s, want %s", n, got, want)
		}
	}
}

// TestHasherParts asserts that parts of any lengths, made in any order, make up the digest of the whole.
func TestHasherParts(t *testing.T) {
	data := randomBytes(1 << 20)
	rng := rand.New(rand.NewPCG(3, 4))
	var h Hasher
	for round := range 300 {
		longest := 1 << rng.IntN(19)
		n := rng.IntN(min(len(data), 20*longest) + 1)
		var offsets []int
		for at := 0; at < n; at += rng.IntN(longest) + 1 {
			offsets = append(offsets, at)
		}
		parts := make([]Part, len(offsets))
		for _, i := range rng.Perm(len(offsets)) {
			end := append(offsets, n)[i+1]
			parts[i] = NewPart(data[offsets[i]:end], uint64(offsets[i]))
		}
		h.Reset()
		for i, p := range parts {
			if i%3 == round%3 {
				h.Write(p.data)
			} else {
				h.WritePart(p)
			}
		}
		if got, want := h.Sum(), Digest(blake3.Sum256(data[:n])); got != want {
			t.Fatalf("%d bytes in %d parts: %s, want %s", n, len(parts), got, want)
		}
	}
}

func TestHasherSplits(t *testing.T) {
	data := randomBytes(300 << 10)
	rng := rand.New(rand.NewPCG(1, 2))
	var h Hasher
	for range 200 {
		longest := 1 << rng.IntN(18)
		n := rng.IntN(min(len(data), 40*longest) + 1)
		h.Reset()
		for at := 0; at < n; {
			step := min(rng.IntN(longest)+1, n-at)
			if k, err := h.Write(data[at : at+step]); k != step || err != nil {
				t.Fatalf("Write of %d bytes: %d, %v", step, k, err)
			}
			at += step
			if rng.IntN(4) == 0 {
				if got, want := h.Sum(), Digest(blake3.Sum256(data[:at])); got != want {
					t.Fatalf("after %d bytes: %s, want %s", at, got, want)
				}
			}
		}
		if got, want := h.Sum(), Digest(blake3.Sum256(data[:n])); got != want {
			t.Fatalf("%d bytes in steps of at most %d: %s, want %s", n, longest, got, want)
		}
	}
}

// A digest must not depend on what a buffer held before, nor on bytes behind the end of the input.
func TestHasherReset(t *testing.T) {
	data := randomBytes(5 << 10)
	var h, zero Hasher
	h.Write(bytes.Repeat([]byte{0xff}, 40<<10))
	h.Reset()
	if got, want := h.Sum(), zero.Sum(); got != want {
		t.Errorf("empty after Reset: %s, want %s", got, want)
	}
	h.Write(data)
	if got, want := h.Sum(), Sum(data); got != want {
		t.Errorf("after Reset: %s, want %s", got, want)
	}
}

func TestSumGolden(t *testing.T) {
	counting := func(from, to int) (b []byte) {
		for v := from; v <= to; v++ {
			b = append(b, byte(v))
		}
		return b
	}
	tests := []struct {
		name   string
		data   []byte
		digest string
	}{
		{"empty", nil, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"hello world", []byte("Hello World!"), "5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c"},
		{"without mark", []byte("Hello World"), "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76"},
		{"0001", []byte{0, 1}, "7b7015bb92cf0b318037702a6cdd81dee41224f734684c2c122cd6359cb1ee63"},
		{"255 by 4096", bytes.Repeat(counting(0, 254), 4096), "a82c5154a7a0c262c6fdb929a317585646f8fbcf80326d0a7b8747edaf2d99d2"},
		{"01", []byte{1}, "48fc721fbbc172e0925fa27af1671de225ba927134802998b10a1568a188652b"},
		{"platform", []byte("x86_64-linux"), "28e337fc81c4c7b61f227027949a4012561ecead12c67f5f473ef1b8297035f0"},
		{"010203", counting(1, 3), "b177ec1bf26dfb3b7010d473e6d44713b29b765b99c6e60ecbfae742de496543"},
		{"0405", counting(4, 5), "5f805527aa94f2a9a3a782cad8cc18b63cf6017e7bc65ca96aeada8392d4c525"},
		{"02030405", counting(2, 5), "024a7fdb2a86c4eae9600a1cfbfd4487ddc15c0a8fa59abfebd6f92bd0031fe5"},
		{"06", counting(6, 6), "1c310b6bdadd69991cd4e5dbef96c2638536c32b534e3ed64785846bfcebd206"},
		{"0708", counting(7, 8), "d241b5ab32d2206564b51c8ec05944f6af6d7622c2f607f34c0622223a2b3cd7"},
		{"090a0b0c0d0e0f", counting(9, 15), "465ded54852258aadefafc109bac1cb1c1275ad9ac15af4fe9996dff9473f50e"},
		{"00 to 0f", counting(0, 15), "a6a492965517a830cb75fdb713465aa465f2f098233896fea44c1d98268bf9e3"},
		{"page", []byte("<!DOCTYPE html><html><body>Hello World!</body></html>"), "293c5a67b2722328177aedb6ad541c8dd7d02e45317a0e1a17147ef535694283"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sum(tt.data).String(); got != tt.digest {
				t.Errorf("Sum %s, want %s", got, tt.digest)
			}
		})
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	data := randomBytes(100 << 10)
	var h Hasher
	for _, n := range []int{0, 64, 1 << 10, 2 << 10, 3 << 10, 16 << 10, 20 << 10, 100 << 10} {
		b := data[:n]
		allocs := testing.AllocsPerRun(10, func() {
			h.Reset()
			h.Write(b)
			h.Write(b)
			if h.Sum() == Sum(b) && n > 0 {
				t.Errorf("%d bytes: same digest for twice as much", n)
			}
		})
		if allocs != 0 {
			t.Errorf("%d bytes: %v allocations", n, allocs)
		}
	}
}

func FuzzHasherSplits(f *testing.F) {
	f.Add([]byte("Hello World!"), uint32(5), uint32(0))
	f.Add(randomBytes(2049), uint32(1024), uint32(2048))
	f.Add(randomBytes(40<<10), uint32(16<<10), uint32(32<<10))
	f.Fuzz(func(t *testing.T, data []byte, i, j uint32) {
		first := int(i) % (len(data) + 1)
		second := first + int(j)%(len(data)-first+1)
		var h Hasher
		for _, part := range [][]byte{data[:first], data[first:second], data[second:]} {
			h.Write(part)
		}
		want := Digest(blake3.Sum256(data))
		if got := h.Sum(); got != want {
			t.Errorf("written in three: %s, want %s", got, want)
		}
		if got := Sum(data); got != want {
			t.Errorf("at once: %s, want %s", got, want)
		}
	})
}

var hashSizes = []int{64, 1 << 10, 2 << 10, 3 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 64 << 20}

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dM", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dK", n>>10)
	}
	return fmt.Sprint(n)
}

func BenchmarkSum(b *testing.B) {
	for _, n := range hashSizes {
		data := randomBytes(n)
		b.Run(sizeName(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				Sum(data)
			}
		})
	}
}

func BenchmarkHasher(b *testing.B) {
	data := randomBytes(1 << 20)
	for _, n := range []int{4 << 10, 32 << 10, 256 << 10} {
		b.Run("1M-by-"+sizeName(n), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var h Hasher
			for b.Loop() {
				h.Reset()
				for at := 0; at < len(data); at += n {
					h.Write(data[at : at+n])
				}
				h.Sum()
			}
		})
	}
}
