package objects

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/bucket"
)

// encoded returns the messages and digests of the fixtures by name.
func encoded(t *testing.T, rule store.SizeRule) (message map[string][]byte, digest map[string]store.Digest) {
	message, digest = map[string][]byte{}, map[string]store.Digest{}
	dirs, names := fixtures(t, rule)
	for _, dir := range dirs {
		m, err := store.EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		message[names[store.Sum(m)]], digest[names[store.Sum(m)]] = m, store.Sum(m)
	}
	return message, digest
}

// walkDigests returns the digests that Walk yields.
func walkDigests(ctx context.Context, st *store.Store, root store.Digest) (list []store.Digest, err error) {
	for named, err := range st.Directories.Walk(ctx, root) {
		if err != nil {
			return list, err
		}
		list = append(list, named.Digest)
	}
	return list, nil
}

// Closures are read in any order that the rules allow, under both size rules, and so is each of their directories by name.
func TestReadForeignClosures(t *testing.T) {
	t.Parallel()
	for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
		m, d := encoded(t, rule)
		for name, order := range map[string][]string{
			"breadth first, backwards": {"E", "D", "B", "A"},
			"breadth first":            {"E", "D", "A", "B"},
			"with repeats":             {"E", "E", "D", "A", "B", "A"},
		} {
			if name == "with repeats" {
				order = order[1:] // the root may not come again: nothing refers to it
			}
			b := byHand{bucket.NewMemory(), t}
			var messages [][]byte
			for _, n := range order {
				messages = append(messages, m[n])
			}
			b.closure(d["E"], messages...)
			b.closure(d["complicated"], m["complicated"], m["keep"])
			st := open1(t, b)
			for _, n := range []string{"B", "keep", "A", "D", "E", "complicated"} {
				dir, err := st.Directories.Get(t.Context(), d[n])
				if err != nil {
					t.Fatalf("%s, %s: Get of %s: %v", rule, name, n, err)
				}
				if again, err := store.EncodeDirectory(dir); err != nil || !bytes.Equal(again, m[n]) {
					t.Errorf("%s, %s: Get of %s = %v", rule, name, n, dir)
				}
			}
			fresh := open1(t, b)
			for n, want := range map[string]int{"E": 4, "D": 3, "B": 2, "A": 1, "complicated": 2} {
				if got, err := walkDigests(t.Context(), fresh, d[n]); len(got) != want || err != nil {
					t.Errorf("%s, %s: Walk of %s = %d directories, %v, want %d", rule, name, n, len(got), err, want)
				}
			}
			if err := st.Sync(t.Context()); err != nil { // the lists, which were made from the closures
				t.Fatal(err)
			}
			for _, n := range []string{"E", "complicated"} {
				if _, err := b.Head(t.Context(), closureName(d[n])); err != nil {
					t.Errorf("%s, %s: list of %s: %v", rule, name, n, err)
				}
			}
			if _, err := open1(t, b).Directories.Get(t.Context(), store.Sum([]byte("absent"))); !store.IsNotFound(err) {
				t.Errorf("absent directory: %v", err)
			}
		}
	}
}

// An incomplete closure, as tvix may store, is completed from elsewhere. Otherwise the error says what is missing.
func TestIncompleteClosure(t *testing.T) {
	t.Parallel()
	m, d := encoded(t, store.SizeDocumented)
	b := byHand{bucket.NewMemory(), t}
	b.closure(d["E"], m["E"], m["D"], m["A"])
	st := open1(t, b)
	if got, err := walkDigests(t.Context(), st, d["E"]); len(got) != 3 || !store.IsNotFound(err) {
		t.Errorf("Walk = %d directories, %v", len(got), err)
	}
	b.closure(d["B"], m["B"], m["A"])
	if got, err := walkDigests(t.Context(), open1(t, b), d["E"]); len(got) != 4 || err != nil {
		t.Errorf("Walk of the completed = %d directories, %v", len(got), err)
	}
}

// A damaged closure is reported as damage, and healed when it is put again.
func TestDamagedClosures(t *testing.T) {
	t.Parallel()
	m, d := encoded(t, store.SizeDocumented)
	frame := func(names ...string) (raw []byte) {
		for _, n := range names {
			raw = append(raw, 0, 0, 0, byte(len(m[n])))
			raw = append(raw, m[n]...)
		}
		return raw
	}
	good := frame("D", "B", "A")
	tests := []struct {
		name string
		body []byte
	}{
		{"no bytes", nil},
		{"an empty stream", streamed(t)},
		{"not compressed", good},
		{"cut in the stream", streamed(t, good)[:20]},
		{"cut in a message", streamed(t, good[:len(good)-6])},
		{"cut in a length", streamed(t, good[:len(good)-2])},
		{"children first", streamed(t, frame("A", "B", "D"))},
		{"a grandchild first", streamed(t, frame("E", "B"))},
		{"another root", streamed(t, frame("C", "A"))},
		{"an unrelated directory", streamed(t, frame("D", "B", "keep", "A"))},
		{"an unrelated directory at the end", streamed(t, frame("D", "B", "A", "keep"))},
		{"repeats without end", streamed(t, append(frame("D", "B", "A"), make([]byte, 1<<20)...))},
		{"a huge length", streamed(t, append(frame("D"), 0xff, 0xff, 0xff, 0xff, 1))},
		{"a length greater than the rest", streamed(t, append(frame("D"), 0x3e, 0x80, 0, 0, 1))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := byHand{bucket.NewMemory(), t}
			b.put(dirName(d["D"]), tt.body)
			st := open1(t, b)
			if _, err := st.Directories.Get(t.Context(), d["D"]); !store.IsCorrupt(err) || store.IsNotFound(err) {
				t.Errorf("Get: %v, want *CorruptError", err)
			}
			if list, err := walkDigests(t.Context(), st, d["D"]); !store.IsCorrupt(err) || store.IsNotFound(err) {
				t.Errorf("Walk: %d directories, %v, want *CorruptError", len(list), err)
			}
			w, err := st.Directories.Upload(t.Context()) // heals it
			if err != nil {
				t.Fatal(err)
			}
			dirs, _ := fixtures(t, store.SizeDocumented)
			for _, dir := range dirs {
				if _, err := w.Put(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(w.Commit(t.Context(), d["D"]), st.Sync(t.Context())); err != nil {
				t.Fatal(err)
			}
			if list, err := walkDigests(t.Context(), open1(t, b), d["D"]); len(list) != 3 || err != nil {
				t.Errorf("Walk after it was put again: %d directories, %v", len(list), err)
			}
		})
	}
}

func TestInvalidDirectory(t *testing.T) {
	t.Parallel()
	m, _ := encoded(t, store.SizeDocumented)
	unsorted := append(append([]byte{}, m["C"][39:]...), m["C"][:39]...)
	b := byHand{bucket.NewMemory(), t}
	b.closure(store.Sum(unsorted), unsorted)
	if _, err := open1(t, b).Directories.Get(t.Context(), store.Sum(unsorted)); !store.IsCorrupt(err) {
		t.Errorf("Get: %v, want *CorruptError", err)
	}
}

// Children are found without lists, with malformed lists, and with lists that lie.
func TestListsAreOptional(t *testing.T) {
	t.Parallel()
	m, d := encoded(t, store.SizeDocumented)
	stranger := store.Sum([]byte("stranger"))
	for name, list := range map[string][]byte{
		"none": nil, "no bytes": {}, "odd": make([]byte, 33), "a lie": stranger[:], "unordered": slices.Concat(digestBytes(d["E"]), make([]byte, 32)),
		"of another": slices.Concat(digestBytes(d["A"]), digestBytes(d["D"])), "only the root": digestBytes(d["E"]),
		"leaves out": slices.Concat(digestBytes(d["E"]), digestBytes(d["D"])),
	} {
		b := byHand{bucket.NewMemory(), t}
		b.closure(d["E"], m["E"], m["D"], m["B"], m["A"])
		if list != nil {
			b.put(closureName(d["E"]), list)
		}
		st := open1(t, b)
		if _, err := st.Directories.Get(t.Context(), stranger); !store.IsNotFound(err) {
			t.Errorf("%s: Get of an unrelated directory: %v", name, err)
		}
		if name == "only the root" || name == "leaves out" {
			continue // it hides the children until their closure is read
		}
		if _, err := st.Directories.Get(t.Context(), d["B"]); err != nil {
			t.Errorf("%s: Get of a child: %v", name, err)
		}
	}
}

// noLists is a Bucket whose lists cannot be read.
type noLists struct{ bucket.Bucket }

func (b noLists) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if strings.HasPrefix(name, closuresPrefix) {
		return nil, errors.New("not a regular file")
	}
	return b.Bucket.Get(ctx, name, offset, n)
}

// If a list cannot be read, its closure is read instead.
func TestUnreadableList(t *testing.T) {
	t.Parallel()
	m, d := encoded(t, store.SizeDocumented)
	b := byHand{bucket.NewMemory(), t}
	b.closure(d["E"], m["E"], m["D"], m["B"], m["A"])
	b.put(closureName(d["E"]), digestBytes(d["E"]))
	if _, err := open1(t, noLists{b}).Directories.Get(t.Context(), d["B"]); err != nil {
		t.Error(err)
	}
}

func digestBytes(d store.Digest) []byte { return d[:] }

// FuzzClosure reads any bytes as a closure. Each directory that comes out hashes to the digest that referred to it.
func FuzzClosure(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, true)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0, 0, 0, 1, 0}, false)
	f.Add([]byte{0x3e, 0x80, 0, 0}, false)
	f.Fuzz(func(t *testing.T, b []byte, empty bool) {
		root := store.Sum(nil)
		if !empty && len(b) > 4 {
			root = store.Sum(b[4:])
		}
		var missing []store.Digest
		n := 0
		for fr, err := range frames(bytes.NewReader(b), root, &missing) {
			if err != nil {
				return
			}
			if store.Sum(fr.message) != fr.Digest || n == 0 && fr.Digest != root {
				t.Fatalf("yields %s, whose digest is another", fr.Digest)
			}
			n++
		}
		if n == 0 {
			t.Error("yields nothing, and no error")
		}
	})
}

// A directory in two closures is found although the closure that it was known to be in is damaged.
func TestDirectoryOfDamagedClosure(t *testing.T) {
	t.Parallel()
	m, d := encoded(t, store.SizeDocumented)
	b := byHand{bucket.NewMemory(), t}
	b.put(dirName(d["E"]), []byte("damaged"))
	b.put(closureName(d["E"]), slices.Concat(digestBytes(d["A"]), digestBytes(d["E"])))
	st := open1(t, b)
	if _, err := st.Directories.Get(t.Context(), store.Sum([]byte("absent"))); !store.IsNotFound(err) {
		t.Errorf("Get of nothing: %v", err) // now the closures are known
	}
	if _, err := st.Directories.Get(t.Context(), d["A"]); !store.IsCorrupt(err) {
		t.Errorf("Get from a damaged closure: %v", err)
	}
	b.closure(d["A"], m["A"])
	if _, err := st.Directories.Get(t.Context(), d["A"]); err != nil {
		t.Errorf("Get from another closure: %v", err)
	}
}
