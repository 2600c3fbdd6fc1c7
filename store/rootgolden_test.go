package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// How tvix and snix write roots down: as the encoding of a node without a name, in base64.
func TestRootGolden(t *testing.T) {
	digest := func(s string) Digest {
		d, err := ParseDigest(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	complicated := digest("3f951a15afd586fb3121ef4d13d582e811ce0e5a7f21c0497fd87490e9e2355a")
	complicatedSnix := digest("blake3-Qkp/bOCNgF0VtCgGL6rpYpmhZ11wjDo5Jhr+OM3QT+s=")
	for want, n := range map[string]Node{
		"CiQSID-VGhWv1Yb7MSHvTRPVgugRzg5afyHASX_YdJDp4jVaGAQ": {Kind: KindDirectory, Digest: complicated, Size: 4},
		"CiQSIEJKf2zgjYBdFbQoBi-q6WKZoWddcIw6OSYa_jjN0E_rGAg": {Kind: KindDirectory, Digest: complicatedSnix, Size: 8},
		"EiQSIFyngVrctITpoTbBHv5pwdUwF21Um10Y0DjrUoC0s0cMGAw": {Kind: KindFile, Digest: Sum([]byte("Hello World!")), Size: 12},
		"GhoSGC9uaXgvc3RvcmUvc29tZXdoZXJlZWxzZQ":              {Kind: KindSymlink, Target: "/nix/store/somewhereelse"},
	} {
		b, err := EncodeNode(n)
		if err != nil {
			t.Fatal(err)
		}
		if got := base64.RawURLEncoding.EncodeToString(b); got != want {
			t.Errorf("%v: got %s, want %s", n, got, want)
		}
		if back, err := DecodeNode(b); err != nil || back != n {
			t.Errorf("%s decodes to %v, %v", want, back, err)
		}
	}
	if got := complicatedSnix.String(); got != "424a7f6ce08d805d15b428062faae96299a1675d708c3a39261afe38cdd04feb" {
		t.Errorf("the text form is of %s", got)
	}
}

// The archive that Nix makes of the fixture "complicated" has a hash that is known from elsewhere, so what we take that
// tree to hold is what others do.
func TestNarGolden(t *testing.T) {
	dirs, files := map[Digest]Directory{}, map[Digest][]byte{Sum(nil): {}}
	add := func(dir Directory) Digest {
		b, err := EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[Sum(b)] = dir
		return Sum(b)
	}
	keepFile := Node{Name: ".keep", Kind: KindFile, Digest: Sum(nil)}
	root := add(Directory{keepFile, {Name: "aa", Kind: KindSymlink, Target: "/nix/store/somewhereelse"},
		{Name: "keep", Kind: KindDirectory, Digest: add(Directory{keepFile}), Size: 1}})
	var nar bytes.Buffer
	text := func(words ...string) {
		for _, s := range words {
			binary.Write(&nar, binary.LittleEndian, uint64(len(s)))
			nar.WriteString(s)
			nar.Write(make([]byte, -len(s)&7))
		}
	}
	var write func(n Node)
	write = func(n Node) {
		text("(", "type")
		switch n.Kind {
		case KindFile:
			text("regular", "contents", string(files[n.Digest]))
		case KindSymlink:
			text("symlink", "target", n.Target)
		case KindDirectory:
			text("directory")
			for _, entry := range dirs[n.Digest] {
				text("entry", "(", "name", entry.Name, "node")
				write(entry)
				text(")")
			}
		}
		text(")")
	}
	text("nix-archive-1")
	write(Node{Kind: KindDirectory, Digest: root})
	sum := sha256.Sum256(nar.Bytes())
	if want := "ebd52279a8df024c9fd5718de4103bf5e760dc7f2cf49044ee7dea87ab16911a"; nar.Len() != 840 || hex.EncodeToString(sum[:]) != want {
		t.Errorf("%d bytes with the hash %x, want 840 with %s", nar.Len(), sum, want)
	}
}
