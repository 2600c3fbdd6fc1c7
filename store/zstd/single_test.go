package zstd_test

import (
	"bytes"
	"slices"
	"testing"

	"castar/store/zstd"

	other "github.com/klauspost/compress/zstd"
)

// The output of an Encoder is single. A frame that has a checksum, is cut short or has bytes around it is not.
func TestSingle(t *testing.T) {
	enc, dec := codec(t)
	plain, err := other.NewWriter(nil, other.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	summed, err := other.NewWriter(nil, other.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := other.NewWriter(nil, other.WithEncoderCRC(false), other.WithWindowSize(16<<20), other.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	long := wide.EncodeAll(make([]byte, 20<<20), nil)
	if err := dec.Decode(make([]byte, 20<<20), long); err != nil || zstd.Single(long) {
		t.Errorf("a window of 16 MiB: single, or %v", err)
	}
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}
	for i, data := range samples() {
		frame, err := enc.Append(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			b    []byte
			want bool
		}{
			"a frame":              {frame, true},
			"a frame of another":   {plain.EncodeAll(data, nil), true},
			"with a checksum":      {summed.EncodeAll(data, nil), len(data) == 0}, // which has none
			"two":                  {slices.Concat(frame, frame), false},
			"after what is passed": {append(slices.Clone(skippable), frame...), false},
			"before that":          {append(slices.Clone(frame), skippable...), false},
			"a byte behind":        {append(slices.Clone(frame), 0), false},
			"a byte short":         {frame[:len(frame)-1], false},
			"nothing":              {nil, false},
		} {
			if got := zstd.Single(tt.b); got != tt.want {
				t.Errorf("sample %d, %s: %v, want %v", i, name, got, tt.want)
			}
			if tt.want && dec.Decode(make([]byte, len(data)), tt.b) != nil {
				t.Errorf("sample %d, %s: does not decode", i, name)
			}
		}
	}
}

// Two frames decode to the contents of both, and to no more and no less, as one frame does, however long they are.
func TestTwoFrames(t *testing.T) {
	enc, dec := codec(t)
	plain := bytes.Repeat([]byte("castar\n"), 20<<10)
	frame, err := enc.Append(nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	for frames, b := range map[int][]byte{1: frame, 2: slices.Concat(frame, frame)} {
		for n := 1; n <= 3; n++ {
			got := make([]byte, n*len(plain))
			if err := dec.Decode(got, b); (err == nil) != (n == frames) {
				t.Errorf("%d frames, into room for %d: %v", frames, n, err)
			} else if err == nil && !bytes.Equal(got, bytes.Repeat(plain, n)) {
				t.Errorf("%d frames: something else", frames)
			}
		}
	}
}

// Single ends for every input, and no prefix of a single frame is single.
func FuzzSingle(f *testing.F) {
	enc, _ := codec(f)
	golden, _ := goldenFrame(f)
	f.Add(golden)
	for _, data := range samples()[:9] {
		frame, err := enc.Append(nil, data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !zstd.Single(b) {
			return
		}
		if zstd.Single(b[:len(b)-1]) || zstd.Single(append(slices.Clone(b), 0)) {
			t.Error("a part is as good as the whole")
		}
	})
}
