package decompress

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// compressors returns a function for each format that Go can write.
func compressors(t *testing.T) map[string]func(plain []byte) []byte {
	with := func(open func(io.Writer) (io.WriteCloser, error)) func([]byte) []byte {
		return func(plain []byte) []byte {
			var buf bytes.Buffer
			w, err := open(&buf)
			if err == nil {
				_, err = w.Write(plain)
			}
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			return buf.Bytes()
		}
	}
	return map[string]func([]byte) []byte{
		"gzip": with(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
		"zstd": with(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
		"xz":   with(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
	}
}

// read returns the plain bytes of b.
func read(b []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestReader(t *testing.T) {
	one, two := bytes.Repeat([]byte("one and "), 50_000), []byte("two")
	for name, compress := range compressors(t) {
		both := append(compress(one), compress(two)...)
		if got, err := read(both); err != nil || string(got) != string(one)+string(two) {
			t.Errorf("%s: two streams: %d bytes, error %v", name, len(got), err)
		}
		if r, err := NewReader(iotest.OneByteReader(bytes.NewReader(compress(one)))); err != nil {
			t.Errorf("%s: byte by byte: %v", name, err)
		} else if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, one) {
			t.Errorf("%s: byte by byte: %d bytes, error %v", name, len(got), err)
		}
		if got, err := read(compress(nil)); err != nil || len(got) > 0 {
			t.Errorf("%s: nothing: %d bytes, error %v", name, len(got), err)
		}
		if _, err := read(append(both, "garbage"...)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: garbage follows: error %v", name, err)
		}
		for _, n := range []int{1, 5, 12} {
			if _, err := read(both[:len(both)-n]); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: without the last %d bytes: error %v", name, n, err)
			}
		}
	}
	stream := compressors(t)["xz"](one)
	if _, err := read(stream[:len(stream)-20]); err == nil { // after the last block
		t.Error("xz: no error without index and footer")
	}
	padded := append(compressors(t)["gzip"](one), make([]byte, 10_000)...)
	if got, err := read(padded); err != nil || !bytes.Equal(got, one) {
		t.Errorf("gzip and zeros: %d bytes, error %v", len(got), err)
	}
}

func TestReaderBzip2(t *testing.T) {
	const hello = "QlpoOTFBWSZTWU7s6DYAAAJRgAAQQAAGRJCAIAAxBkxBAaeppYC7lDH4u5IpwoSCd2dBsA==" // of "hello world\n"
	b, err := base64.StdEncoding.DecodeString(hello)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(append(b, b...)); err != nil || string(got) != "hello world\nhello world\n" {
		t.Errorf("%q, error %v", got, err)
	}
	if _, err := read(b[:len(b)-3]); err == nil {
		t.Error("no error without the last bytes")
	}
}

func TestReaderPlain(t *testing.T) {
	for _, plain := range []string{"", "a", "BZ", "\x1f\x8c", strings.Repeat("plain", 1000)} {
		if got, err := read([]byte(plain)); err != nil || string(got) != plain {
			t.Errorf("%.20q: %.20q, error %v", plain, got, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	tests := []struct{ data, reason string }{
		{"\x04\x22\x4d\x18....", "lz4, which is not supported"},
		{"LZIP....", "lzip, which is not supported"},
		{"\x1f\x9d....", "compress, which is not supported"},
		{"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x28\x00\x00\x00", "the dictionary has more than 128 MiB"},
		{"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\xc0\x80\x01\x05\x21\x01\x1f\x00\x00", "the dictionary has more than 128 MiB"},
		{"\x28\xb5\x2f\xfd\x00\xf8....", "zstd: window size"},
	}
	for _, tt := range tests {
		if got, err := read([]byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%q: %d bytes, error %v, want %s", tt.data, len(got), err, tt.reason)
		}
	}
}
