package zstd_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"castar/store/zstd"

	other "github.com/klauspost/compress/zstd"
)

func codec(t testing.TB) (*zstd.Encoder, *zstd.Decoder) {
	t.Helper()
	enc, err := zstd.NewEncoder(2, zstd.Fast)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewDecoder(2)
	if err != nil {
		t.Fatal(err)
	}
	return enc, dec
}

// samples are text and noise of many lengths.
func samples() [][]byte {
	var all [][]byte
	rng := rand.NewChaCha8([32]byte{})
	for _, n := range []int{0, 1, 255, 256, 4 << 10, 128<<10 - 1, 128<<10 + 1, 1 << 20, 3<<20 + 7} {
		noise := make([]byte, n)
		rng.Read(noise)
		text := bytes.Repeat([]byte("for i := range names {\n"), n/23+1)[:n]
		all = append(all, noise, text, append(noise[:n/2:n/2], text[n/2:]...))
	}
	return all
}

// This package and another implementation read each other's frames, with many calls at once.
func TestRoundTrip(t *testing.T) {
	enc, dec := codec(t)
	otherEnc, err := other.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	otherDec, err := other.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i, data := range samples() {
		for _, room := range []int{0, 100, 4 << 20} {
			all.Go(func() {
				prefix := append(make([]byte, 0, room), "head"...)
				frame, err := enc.Append(prefix, data)
				if err != nil || string(frame[:4]) != "head" {
					t.Errorf("sample %d: append: %v", i, err)
					return
				}
				frame = frame[4:]
				back := make([]byte, len(data))
				if err := dec.Decode(back, frame); err != nil || !bytes.Equal(back, data) {
					t.Errorf("sample %d: not what it was (%v)", i, err)
				}
				if back, err := otherDec.DecodeAll(frame, nil); err != nil || !bytes.Equal(back, data) {
					t.Errorf("sample %d: the other reads something else (%v)", i, err)
				}
				if err := dec.Decode(back, otherEnc.EncodeAll(data, []byte{})); err != nil || !bytes.Equal(back, data) {
					t.Errorf("sample %d: what the other wrote reads as something else (%v)", i, err)
				}
			})
		}
	}
	all.Wait()
}

// A frame of the C library's best level, to test programs without the library too.
const golden = "28b52ffd20bd95000040636173746172200a02005b08a9a0ce6204"

func goldenFrame(t testing.TB) (frame []byte, text string) {
	frame, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	return frame, strings.Repeat(strings.Repeat("castar ", 8)+"castar\n", 3)
}

func TestGolden(t *testing.T) {
	_, dec := codec(t)
	frame, text := goldenFrame(t)
	got := make([]byte, len(text))
	if err := dec.Decode(got, frame); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDamage(t *testing.T) {
	_, dec := codec(t)
	frame, text := goldenFrame(t)
	for _, n := range []int{0, 1, len(text) - 1, len(text) + 1, 1 << 20} {
		if err := dec.Decode(make([]byte, n), frame); !errors.Is(err, zstd.ErrSize) {
			t.Errorf("into %d bytes instead of %d: %v", n, len(text), err)
		}
	}
	for n := range frame {
		if err := dec.Decode(make([]byte, len(text)), frame[:n]); err == nil {
			t.Errorf("%d of %d bytes decode to all", n, len(frame))
		}
	}
	err := dec.Decode(make([]byte, len(text)), []byte("this is not a frame"))
	if err == nil || errors.Is(err, zstd.ErrSize) || err.Error() != strings.ToLower(err.Error()) {
		t.Errorf("what is no frame: %v", err)
	}
}

// Decode never writes past the end of dst.
func FuzzDecode(f *testing.F) {
	enc, dec := codec(f)
	frame, text := goldenFrame(f)
	f.Add(frame, len(text))
	for _, data := range samples()[:9] {
		frame, err := enc.Append(nil, data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, len(data))
	}
	f.Fuzz(func(t *testing.T, frame []byte, size int) {
		size &= 1<<20 - 1
		room := bytes.Repeat([]byte{0xa5}, size+64)
		err := dec.Decode(room[:size], frame)
		if bytes.Count(room[size:], []byte{0xa5}) != 64 {
			t.Fatalf("wrote beyond %d bytes (%v)", size, err)
		}
		if err == nil {
			again, err := enc.Append(nil, room[:size])
			if err != nil {
				t.Fatal(err)
			}
			back := make([]byte, size)
			if err := dec.Decode(back, again); err != nil || !bytes.Equal(back, room[:size]) {
				t.Fatalf("not what it was (%v)", err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, level := range []int{zstd.Fast, 2, zstd.Default} {
		b.Run(fmt.Sprint("level=", level), func(b *testing.B) {
			enc, err := zstd.NewEncoder(1, level)
			if err != nil {
				b.Fatal(err)
			}
			var text bytes.Buffer
			rng := rand.New(rand.NewPCG(1, 2))
			for text.Len() < 2<<20 {
				fmt.Fprintf(&text, "\tif err := %c%d(%d); err != nil {\n", 'a'+rng.IntN(26), rng.IntN(100), rng.IntN(1000))
			}
			var out []byte
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				if out, err = enc.Append(out[:0], text.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
