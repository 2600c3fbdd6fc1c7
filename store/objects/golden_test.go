package objects

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// vectors are what castore says about the objects of its fixtures.
type vectors struct {
	Blobs []struct {
		Input     string   `json:"input"`
		Avg       int      `json:"avg"`
		Digest    string   `json:"digest"`
		Lengths   []uint64 `json:"lengths"`    // of the chunks; absent: not known
		RecordLen int      `json:"record_len"` // 0 with lengths: not known
		Record    string   `json:"record"`
		RecordSum string   `json:"record_blake3"`
		Objects   []string `json:"objects"` // absent: not known
	} `json:"blobs"`
	Closures []struct {
		Root   string   `json:"root"`
		Rule   string   `json:"rule"`
		Object string   `json:"object"`
		Order  []string `json:"order"`
		Bytes  string   `json:"bytes"` // absent: not known
	} `json:"closures"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("../../testdata/vectors/objects.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// inputs returns the contents of the blobs of the vectors, which are shared: nobody changes them.
var inputs = sync.OnceValue(func() map[string][]byte {
	block := make([]byte, 255)
	for i := range block {
		block[i] = byte(i)
	}
	var counters []byte
	for i := range uint64(4 << 20 / sha256.Size) {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
		counters = append(counters, sum[:]...)
	}
	return map[string][]byte{
		"empty": nil, "hello": []byte("Hello World!"), "blob A": {0, 1}, "blob B": bytes.Repeat(block, 4096),
		"zeros": make([]byte, 2<<20), "counters": counters,
	}
})

// objectsOf returns the objects in a Bucket.
func objectsOf(t *testing.T, b bucket.Bucket) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range buckettest.List(t, b, "", "") {
		body, err := b.Get(t.Context(), name, 0, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = body
	}
	return all
}

func names(objects map[string][]byte) (list []string) {
	for name := range objects {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// unzstd decodes with a decoder of its own.
func unzstd(t *testing.T, b []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	data, err := io.ReadAll(dec)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBlobVectors(t *testing.T) {
	t.Parallel()
	all := inputs()
	for _, v := range readVectors(t).Blobs {
		for _, verb := range []string{"Put", "Create"} {
			t.Run(v.Input+" "+verb, func(t *testing.T) {
				b, data := bucket.NewMemory(), all[v.Input]
				st := openBucket(t, b, Options{AvgChunkSize: v.Avg})
				defer st.Close()
				var d store.Digest
				var err error
				if verb == "Put" {
					d, err = st.Blobs.Put(t.Context(), data)
				} else {
					var w store.BlobWriter
					if w, err = st.Blobs.Create(t.Context()); err == nil {
						if _, err = w.Write(data); err == nil {
							d, err = w.Commit()
						}
					}
				}
				if err != nil || d.String() != v.Digest {
					t.Fatalf("%s = %s, %v, want %s", verb, d, err, v.Digest)
				}
				if err := st.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				objects := objectsOf(t, b)
				if v.Objects != nil {
					if diff := cmp.Diff(v.Objects, names(objects)); diff != "" {
						t.Errorf("objects: %s", diff)
					}
				}
				record := objects["blobs/b3/"+v.Digest[:4]+"/"+v.Digest]
				if (v.RecordLen > 0 || v.Lengths == nil) && len(record) != v.RecordLen ||
					v.Record != "" && hex.EncodeToString(record) != v.Record ||
					v.RecordSum != "" && store.Sum(record).String() != v.RecordSum {
					t.Errorf("record of %d bytes, want %d: %x", len(record), v.RecordLen, record[:min(100, len(record))])
				}
				chunks, err := st.Blobs.Chunks(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				if len(chunks) == 0 && len(data) > 0 {
					chunks = []store.Chunk{{Digest: d, Size: uint64(len(data))}}
				}
				checkChunks(t, objects, chunks, data, v.Lengths)
			})
		}
	}
}

// checkChunks checks that the chunk objects hold data, and unless lengths is nil, that the chunks have those lengths.
func checkChunks(t *testing.T, objects map[string][]byte, chunks []store.Chunk, data []byte, lengths []uint64) {
	t.Helper()
	var got []byte
	for i, c := range chunks {
		hex := c.Digest.String()
		body := unzstd(t, objects["chunks/b3/"+hex[:4]+"/"+hex])
		if uint64(len(body)) != c.Size || lengths != nil && c.Size != lengths[i] {
			t.Errorf("chunk %d has %d bytes, record says %d", i, len(body), c.Size)
		}
		got = append(got, body...)
	}
	if lengths != nil && len(chunks) != len(lengths) || !bytes.Equal(got, data) {
		t.Errorf("%d chunks, of %d bytes", len(chunks), len(got))
	}
}

// fixtures returns castore's directories under a rule, children first, and their names.
func fixtures(t *testing.T, rule store.SizeRule) (list []store.Directory, name map[store.Digest]string) {
	name = map[store.Digest]string{}
	digest := func(dir store.Directory) store.Digest {
		b, err := store.EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		return store.Sum(b)
	}
	add := func(n string, dir store.Directory) store.Directory {
		name[digest(dir)] = n
		list = append(list, dir)
		return dir
	}
	node := func(n string, dir store.Directory) store.Node {
		size, err := dir.Size(rule)
		if err != nil {
			t.Fatal(err)
		}
		return store.Node{Name: n, Kind: store.KindDirectory, Digest: digest(dir), Size: size}
	}
	link := func(n, target string) store.Node { return store.Node{Name: n, Kind: store.KindSymlink, Target: target} }
	keepFile := store.Node{Name: ".keep", Kind: store.KindFile, Digest: store.Sum(nil)}
	a := add("A", store.Directory{})
	keep := add("keep", store.Directory{keepFile})
	add("complicated", store.Directory{
		keepFile, link("aa", "/nix/store/somewhereelse"), node("keep", keep),
	})
	html := []byte("<!DOCTYPE html><html><body>Hello World!</body></html>")
	page := func(n string) store.Node {
		return store.Node{Name: n, Kind: store.KindFile, Digest: store.Sum(html), Size: uint64(len(html))}
	}
	symlinks := add("with symlink", store.Directory{
		link("dot", "."), link("dot_symlink", "./index.html"), link("dotdot_same_symlink", "../nested/index.html"),
		link("dotdot_symlink", "../index.htm"), page("index.html"), link("symlink", "index.html"),
	})
	add("nested", store.Directory{
		page("index.htm"), node("nested", symlinks), link("out_of_base_path_symlink", "../index.htm"),
	})
	b := add("B", store.Directory{node("a", a)})
	add("C", store.Directory{node("a", a), node("a'", a)})
	d := add("D", store.Directory{node("a", a), node("b", b)})
	add("E", store.Directory{node("d", d)})
	return list, name
}

func TestClosureVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Closures {
		t.Run(v.Root+" "+v.Rule, func(t *testing.T) {
			rule, err := store.ParseSizeRule(v.Rule)
			if err != nil {
				t.Fatal(err)
			}
			dirs, name := fixtures(t, rule)
			root, err := store.ParseDigest(v.Object[strings.LastIndexByte(v.Object, '/')+1:])
			if err != nil || name[root] != v.Root {
				t.Fatalf("%s is %q, %v", v.Object, name[root], err)
			}
			b := bucket.NewMemory()
			st := openBucket(t, b, Options{})
			defer st.Close()
			w, err := st.Directories.Upload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range dirs { // also some that are not in the closure
				if _, err := w.Put(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Commit(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			objects := objectsOf(t, b)
			body, ok := objects[v.Object]
			if !ok {
				t.Fatalf("objects %q", names(objects))
			}
			delete(objects, v.Object)
			for other := range objects {
				if !strings.HasPrefix(other, ownPrefix) {
					t.Errorf("object %s", other)
				}
			}
			raw := unzstd(t, body)
			if v.Bytes != "" && hex.EncodeToString(raw) != v.Bytes {
				t.Errorf("bytes %x, want %s", raw, v.Bytes)
			}
			var order []string
			for len(raw) > 0 {
				n := binary.BigEndian.Uint32(raw)
				order = append(order, name[store.Sum(raw[4:][:n])])
				raw = raw[4+n:]
			}
			if diff := cmp.Diff(v.Order, order); diff != "" {
				t.Errorf("order: %s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	d, err := store.ParseDigest("5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c")
	if err != nil {
		t.Fatal(err)
	}
	const hex = "5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c"
	tests := []struct{ got, want string }{
		{blobName(d), "blobs/b3/5ca7/" + hex},
		{chunkName(d), "chunks/b3/5ca7/" + hex},
		{dirName(d), "dirs/b3/5ca7/" + hex},
		{ownDirName(d), "castar/dirs/b3/5ca7/" + hex},
		{closureName(d), "castar/closures/" + hex},
		{shardedPrefix(blobsPrefix, d, 0), "blobs/b3/"},
		{shardedPrefix(blobsPrefix, d, 3), "blobs/b3/5ca"},
		{shardedPrefix(blobsPrefix, d, 4), "blobs/b3/5ca7"},
		{shardedPrefix(blobsPrefix, d, 5), "blobs/b3/5ca7/5ca78"},
		{shardedPrefix(blobsPrefix, d, 64), "blobs/b3/5ca7/" + hex},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
	for name, want := range map[string]bool{
		"blobs/b3/5ca7/" + hex:                  true,
		"blobs/b3/" + hex:                       true,
		"blobs/b3/5ca8/" + hex:                  false,
		"chunks/b3/5ca7/" + hex:                 false,
		"blobs/b3/5ca7/" + hex + ".tmp":         false,
		"blobs/b3/5ca7/" + strings.ToUpper(hex): false,
		"blobs/b3/README":                       false,
		"blobs/b3/5ca7/":                        false,
	} {
		if got, ok := digestOf(blobsPrefix, name); ok != want || ok && got != d {
			t.Errorf("digestOf(%s) = %s, %v", name, got, ok)
		}
	}
}

// Files are where tvix and snix look for them, and this program's own files are elsewhere.
func TestFileTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := openBucket(t, openFolder(t, dir), Options{})
	if _, err := st.Blobs.Put(t.Context(), []byte("Hello World!")); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Directories.Put(t.Context(), store.Directory{}); err != nil {
		t.Fatal(err)
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var files []string
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, err = filepath.Rel(dir, name)
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"blobs/b3/5ca7/5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c",
		"castar/lock",
		"chunks/b3/5ca7/5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c",
		"dirs/b3/af13/af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
}
