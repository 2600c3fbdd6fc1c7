package store_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
)

// seeds are encodings of directories, whole and broken.
var seeds = []string{
	"",
	"12290a052e6b6565701220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
	"0a2a0a046b65657012208b5b5d642b646bb8ed504b0862c39413e87e57491497de7bd075953f7b83810e180112290a052e6b6565701220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32621a1e0a02616112182f6e69782f73746f72652f736f6d657768657265656c7365",
	"0a250a01611220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
	"0a250a01611220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32620a270a016212208701f4722d8dae7f2c40fa003331b8437a3825f9e1bfd3a77998c64cc226b9cc1801",
	"0a",                                    // no length
	"0a05",                                  // cut short
	"0a00",                                  // a directory without a name
	"00",                                    // field 0
	"0b0c",                                  // a group
	"1affffffffff7f",                        // longer than all there is
	"1a070a0161120178" + "1a070a0161120178", // one symlink twice
	"1a060a0161120178",                      // a wrong inner length
	"1a080a016112017818012001",              // fields of others
	"12250a0161" + "1220" + "00",            // a digest cut short
	"0a2f0a01611220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f326218ffffffffffffffffff01", // the sizes overflow
}

// rootSeeds are encodings of roots, whole and broken.
var rootSeeds = []string{
	"0a2412203f951a15afd586fb3121ef4d13d582e811ce0e5a7f21c0497fd87490e9e2355a1804",
	"122412205ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c180c",
	"1a1a12182f6e69782f73746f72652f736f6d657768657265656c7365",
	"1a00",
	"1a0312017f" + "1a0312017f", // two nodes
	"220312017f",                // a kind that is not known
}

func addSeeds(f *testing.F, lists ...[]string) {
	for _, list := range lists {
		for _, s := range list {
			b, err := hex.DecodeString(s)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
}

// checkAccepted compares what a decoder accepted as b with its encoding and with what the generated code makes of b.
func checkAccepted(t *testing.T, b, encoded []byte, err error, m, own proto.Message) {
	if err != nil {
		t.Fatalf("%x was decoded, but does not encode: %v", b, err)
	}
	if !bytes.Equal(encoded, b) {
		t.Fatalf("%x was decoded, but encodes as %x", b, encoded)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("%x was decoded, but is no message: %v", b, err)
	}
	if !proto.Equal(m, own) {
		t.Fatalf("%x was decoded as %v, want %v", b, own, m)
	}
}

func FuzzDecodeDirectory(f *testing.F) {
	addSeeds(f, seeds, rootSeeds)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir, err := store.DecodeDirectory(b)
		if err != nil {
			if dir != nil {
				t.Fatalf("%v besides the error %v", dir, err)
			}
			return
		}
		encoded, err := store.EncodeDirectory(dir)
		checkAccepted(t, b, encoded, err, new(protos.Directory), message(dir))
	})
}

func FuzzDecodeNode(f *testing.F) {
	addSeeds(f, rootSeeds, seeds)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := store.DecodeNode(b)
		if err != nil {
			if n != (store.Node{}) {
				t.Fatalf("%v besides the error %v", n, err)
			}
			return
		}
		encoded, err := store.EncodeNode(n)
		checkAccepted(t, b, encoded, err, new(protos.Node), rootMessage(n))
	})
}
