package store

import (
	"encoding/hex"
	"testing"
)

// The fixtures of castore that tvix and snix share, with the digests of their encodings under both size rules.
func TestDirectoryGolden(t *testing.T) {
	empty := Sum(nil)
	keep := Directory{{Name: ".keep", Kind: KindFile, Digest: empty}}
	dirNode := func(name string, dir Directory, rule SizeRule) Node {
		size, err := dir.Size(rule)
		if err != nil {
			t.Fatal(err)
		}
		b, err := EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		return Node{Name: name, Kind: KindDirectory, Digest: Sum(b), Size: size}
	}
	complicated := func(rule SizeRule) Directory {
		return Directory{
			{Name: ".keep", Kind: KindFile, Digest: empty},
			{Name: "aa", Kind: KindSymlink, Target: "/nix/store/somewhereelse"},
			dirNode("keep", keep, rule),
		}
	}
	a := Directory{}
	b := Directory{dirNode("a", a, SizeDocumented)}
	c := Directory{dirNode("a", a, SizeDocumented), dirNode("a'", a, SizeDocumented)}
	d := func(rule SizeRule) Directory { return Directory{dirNode("a", a, rule), dirNode("b", b, rule)} }
	e := func(rule SizeRule) Directory { return Directory{dirNode("d", d(rule), rule)} }
	tests := []struct {
		name    string
		dir     Directory
		digest  string
		encoded string // hex, or "" where the digest is enough
	}{
		{"A", a, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", ""},
		{"keep", keep, "8b5b5d642b646bb8ed504b0862c39413e87e57491497de7bd075953f7b83810e", "12290a052e6b6565701220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"complicated", complicated(SizeDocumented), "3f951a15afd586fb3121ef4d13d582e811ce0e5a7f21c0497fd87490e9e2355a", "0a2a0a046b65657012208b5b5d642b646bb8ed504b0862c39413e87e57491497de7bd075953f7b83810e180112290a052e6b6565701220af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32621a1e0a02616112182f6e69782f73746f72652f736f6d657768657265656c7365"},
		{"complicated, snix", complicated(SizeSnix), "424a7f6ce08d805d15b428062faae96299a1675d708c3a39261afe38cdd04feb", ""},
		{"B", b, "8701f4722d8dae7f2c40fa003331b8437a3825f9e1bfd3a77998c64cc226b9cc", ""},
		{"C", c, "78eb200ae0cc95d4ea954655fbcf91e285013a261310e161927f2401d2bca803", ""},
		{"D", d(SizeDocumented), "99922a5c1801805287a647af73bca0ed7352a5f7f373e54992795bcc4a235213", ""},
		{"D, snix", d(SizeSnix), "76cd8b55b37333961c1778ba997e57df92e219926ae5a66c414b810331a77603", ""},
		{"E", e(SizeDocumented), "f71882b0f23c198c0fde9af0fb49d9cb797ce1db3a645fcf2760e955ab605d3e", ""},
		{"broken parent", Directory{{Name: "foo", Kind: KindDirectory, Digest: empty, Size: 42}}, "d47aaf4b9d72c5dd171756901a9829aeceff01be2175c2d9744239c72a5a572e", ""},
		{"E, snix", e(SizeSnix), "333c798237cae53a66655761fa232338cc20d1ac45a08e519204eec0bc739103", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := EncodeDirectory(tt.dir)
			if err != nil {
				t.Fatal(err)
			}
			if tt.encoded != "" && hex.EncodeToString(got) != tt.encoded {
				t.Errorf("encoded %x, want %s", got, tt.encoded)
			}
			if d := Sum(got); d.String() != tt.digest {
				t.Errorf("digest %s, want %s", d, tt.digest)
			}
			if _, err := DecodeDirectory(got); err != nil {
				t.Errorf("decode: %v", err)
			}
		})
	}
}
