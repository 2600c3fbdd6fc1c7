package packed

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// openLimited opens a new store on fsys that is full sooner.
func openLimited(t *testing.T, fsys *crashfs.FS, change func(*live.Limits)) *live.Store {
	t.Helper()
	st, err := openFS(t.Context(), fsys, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	change(&st.Limits)
	return st
}

func closeStore(t *testing.T, st *live.Store) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// count returns how many files of fsys are below a folder.
func count(fsys *crashfs.FS, dir string) (n int) {
	for name := range fsys.Files() {
		if strings.HasPrefix(name, dir+"/") {
			n++
		}
	}
	return n
}

// placed is a frame as a pack has it.
type placed struct {
	pack string
	at   int // of its head
	pack.FrameHead
	payload []byte // as stored
}

// frames reads all packs, frame by frame, as FORMAT.md says, and checks whatever has a checksum.
func frames(t *testing.T, files map[string][]byte) (all []placed) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasPrefix(name, pack.Dir+"/") {
			continue
		}
		pk := files[name]
		r, err := pack.ParsePackHead(pk)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for at := pack.PackHeadLen; at < len(pk); {
			h, _, err := pack.ParseFrameHead(pk[at:])
			if err != nil {
				t.Fatalf("%s offset %d: %v", name, at, err)
			}
			payload := pk[at+int(h.Start):][:h.Stored]
			padding := pk[at+pack.FrameHeadLen+len(h.Items)*pack.ItemLen : at+int(h.Start)]
			if pack.Checksum(payload) != h.PayloadSum || h.Kind.Role() != r || len(bytes.Trim(padding, "\x00")) > 0 {
				t.Errorf("%s offset %d: wrong payload, role or padding", name, at)
			}
			all = append(all, placed{name, at, h, payload})
			at += int(h.Start) + int(h.Stored)
		}
	}
	return all
}

// A session that has many objects, or is large, is committed by itself, so that a process that is killed loses little.
func TestCheckpoint(t *testing.T) {
	tests := []struct {
		name   string
		change func(*live.Limits)
		data   func(i int) []byte
	}{
		{"objects", func(l *live.Limits) { l.Objects = 10 }, func(i int) []byte { return fmt.Appendf(nil, "blob %d", i) }},
		{"bytes", func(l *live.Limits) { l.Bytes = 1 << 20 }, func(i int) []byte { return random(byte(i), 100<<10) }},
	}
	for _, tt := range tests {
		fsys := crashfs.New()
		st := openLimited(t, fsys, tt.change)
		for i := range 57 {
			if _, err := st.Blobs().Put(t.Context(), tt.data(i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(fsys, index.Dir); n == 0 {
			t.Errorf("%s: no index was written", tt.name)
		}
		crashed := fsys.Crash(fsys.Len(), func(int) int { return 0 })
		closeStore(t, st)
		after, err := openFS(t.Context(), crashed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for i := range 57 {
			d := store.Sum(tt.data(i))
			if got, err := readBlob(t.Context(), after, d); err == nil && bytes.Equal(got, tt.data(i)) {
				kept++
			} else if !store.IsNotFound(err) {
				t.Errorf("%s: blob %d: %v", tt.name, i, err)
			}
		}
		if kept < 40 || kept == 57 {
			t.Errorf("%s: %d of 57 blobs outlive a crash", tt.name, kept)
		}
		closeStore(t, after)
	}
}

// A blob that is written in pieces is committed in between as well, and its name only with the last of it.
func TestCheckpointWithinBlob(t *testing.T) {
	fsys := crashfs.New()
	st := openLimited(t, fsys, func(l *live.Limits) { l.Bytes = 1 << 20 })
	w, err := st.Blobs().Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	data := random(3, (cap(st.Slots)+3)*4<<20) // so that some have been stored before the last is handed on
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if count(fsys, index.Dir) == 0 {
		t.Error("no index was written")
	}
	d, err := w.Commit()
	if err != nil || d != store.Sum(data) {
		t.Fatalf("%s, %v", d, err)
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
	st, err = openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	if got, err := readBlob(t.Context(), st, d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A pack that is full is followed by another.
func TestPackRollOver(t *testing.T) {
	fsys := crashfs.New()
	st := openLimited(t, fsys, func(l *live.Limits) { l.Pack = 300 << 10 })
	defer closeStore(t, st)
	for i := range 20 {
		if _, err := st.Blobs().Put(t.Context(), random(byte(i), 100<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(fsys, pack.Dir); n < 5 || n > 8 {
		t.Errorf("%d packs of 300 KiB for 2000 KiB", n)
	}
	if n := count(fsys, index.Dir); n != 1 {
		t.Errorf("%d indexes", n)
	}
	for i := range 20 {
		want := random(byte(i), 100<<10)
		if got, err := readBlob(t.Context(), st, store.Sum(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob %d: %d bytes, %v", i, len(got), err)
		}
	}
	frames(t, fsys.Files())
}

// What does not compress is stored as it is, without padding.
func TestRawFrames(t *testing.T) {
	tests := []struct {
		name  string
		data  []byte
		codec pack.Codec
	}{
		{"random, under 64 KiB", random(1, (64<<10)-1), pack.Plain},
		{"random, 64 KiB", random(2, (64 << 10)), pack.Plain},
		{"random, 120 KiB", random(3, 120<<10), pack.Plain},
		{"zeros, 120 KiB", make([]byte, 120<<10), pack.Zstd},
		{"random but for a half", append(random(4, 20<<10), make([]byte, 20<<10)...), pack.Zstd},
		{"empty", nil, pack.Plain},
	}
	for _, tt := range tests {
		fsys := crashfs.New()
		st := openLimited(t, fsys, func(*live.Limits) {})
		for _, data := range [][]byte{tt.data, []byte("odd")} { // so that the next frame does not begin at a block
			if _, err := st.Blobs().Put(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range frames(t, fsys.Files()) {
			if f.Items[0].Digest != store.Sum(tt.data) {
				continue
			}
			if f.Codec != tt.codec {
				t.Errorf("%s: codec %d", tt.name, f.Codec)
			}
			if int(f.Start) != pack.FrameHeadLen+pack.ItemLen {
				t.Errorf("%s: %d bytes of padding", tt.name, int(f.Start)-pack.FrameHeadLen-pack.ItemLen)
			}
			if f.Codec == pack.Plain && !bytes.Equal(f.payload, tt.data) {
				t.Errorf("%s: the payload differs", tt.name)
			}
		}
		if got, err := readBlob(t.Context(), st, store.Sum(tt.data)); err != nil || !bytes.Equal(got, tt.data) {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
		closeStore(t, st)
	}
}

// Small blobs share a frame, and so do directories, apart from them.
func TestGroups(t *testing.T) {
	fsys := crashfs.New()
	st := openLimited(t, fsys, func(*live.Limits) {})
	const n = 3000
	for i := range n {
		if _, err := st.Blobs().Put(t.Context(), fmt.Appendf(bytes.Repeat([]byte("x"), 1000), "%d", i)); err != nil {
			t.Fatal(err)
		}
		dir := store.Directory{{Kind: store.KindFile, Name: fmt.Sprint(i)}}
		if _, err := st.Directories().Put(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
	counts := map[pack.Kind][]int{}
	for _, f := range frames(t, fsys.Files()) {
		counts[f.Kind] = append(counts[f.Kind], len(f.Items))
	}
	if c := counts[pack.KindData]; len(c) != 2 || c[0]+c[1] != n || c[0]*1004 < pack.GroupSize {
		t.Errorf("blobs are in frames of %d", c)
	}
	if c := counts[pack.KindDirectory]; len(c) != 1 || c[0] != n {
		t.Errorf("directories are in frames of %d", c)
	}
	if n := count(fsys, pack.Dir); n != 2 {
		t.Errorf("%d packs", n)
	}
}

// Closing without Sync leaves nothing, in whichever state a session is.
func TestCloseDiscards(t *testing.T) {
	for _, size := range []int{10, 100 << 10, 700 << 10} {
		fsys := crashfs.New()
		st := openLimited(t, fsys, func(l *live.Limits) { l.Pack = 200 << 10 })
		for i := range 5 {
			if _, err := st.Blobs().Put(t.Context(), random(byte(i), size)); err != nil {
				t.Fatal(err)
			}
		}
		w, err := st.Blobs().Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(9, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, st)
		for _, dir := range []string{pack.TempDir, pack.Dir, index.Dir} {
			if n := count(fsys, dir); n > 0 {
				t.Errorf("blobs of %d bytes: %d files in %s", size, n, dir)
			}
		}
		if n := fsys.InUse(); n > 0 {
			t.Errorf("blobs of %d bytes: %d in use", size, n)
		}
	}
}

// What a process that was killed left in tmp/ is removed by the next that has the store alone, and by no other.
func TestTempIsCleared(t *testing.T) {
	fsys := crashfs.New()
	st := openLimited(t, fsys, func(*live.Limits) {})
	if _, err := st.Blobs().Put(t.Context(), random(1, 100<<10)); err != nil {
		t.Fatal(err)
	}
	beside, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(fsys, pack.TempDir); n != 1 {
		t.Errorf("%d files in tmp/ beside a writer, want its own", n)
	}
	killed := fsys.Clone()
	closeStore(t, beside)
	closeStore(t, st)
	reader, err := openFS(t.Context(), killed, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, reader)
	if n := count(killed, pack.TempDir); n != 1 {
		t.Errorf("%d files in tmp/ after a reader, want 1", n)
	}
	next, err := openFS(t.Context(), killed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, next)
	if n := count(killed, pack.TempDir); n > 0 {
		t.Errorf("%d files in tmp/", n)
	}
}

// A file of another kind in index/ does no harm.
func TestStrayFileInIndex(t *testing.T) {
	fsys := made(t)
	f, err := fsys.Create(index.Dir + "/.nfs0001")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	st, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
}

// A hidden file in tags/, as file managers and file systems of networks leave, is no tag.
func TestStrayFileInTags(t *testing.T) {
	fsys := made(t)
	f, err := fsys.Create(sealed.TagsDir + "/.nfs0001")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	st, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	for tag, err := range st.Tags().All(t.Context()) {
		t.Errorf("%v, %v", tag, err)
	}
}
