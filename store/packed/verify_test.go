package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// scrubbed is what a scrub found.
type scrubbed struct {
	store.ScrubResult
	damage   []store.Damage
	harmless []store.Damage
}

func scrub(t *testing.T, st *store.Store, o store.ScrubOptions) (s scrubbed) {
	t.Helper()
	var err error
	s.ScrubResult, err = st.Scrubber.Scrub(context.Background(), o, func(d store.Damage) {
		if d.Harmless {
			s.harmless = append(s.harmless, d)
		} else {
			s.damage = append(s.damage, d)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scrubSample makes a store of frames that hold one blob each, for none of these can be compressed, and of two blobs in
// chunks; it returns the former.
func scrubSample(t *testing.T, dir string) (blobs [][]byte) {
	t.Helper()
	st := open(t, dir, Options{Create: true})
	for i := range byte(30) {
		blobs = append(blobs, random(i, (64<<10)+int(i)))
	}
	putAll(t, st, append(slices.Clone(blobs), random(100, 1<<20), bytes.Repeat([]byte("text\n"), 300<<10))...)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return blobs
}

func putAll(t *testing.T, st *store.Store, blobs ...[]byte) {
	t.Helper()
	ctx := context.Background()
	for _, b := range blobs {
		if _, err := st.Blobs.Put(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// spoil changes a byte of a blob where it is stored as it is. Called twice, it changes it back.
func spoil(t *testing.T, dir string, blob []byte) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, pack.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, blob[64:]); i >= 0 {
			data[i-1] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the blob is in no pack")
}

func digestsOf(damage []store.Damage) (all []store.Digest) {
	for _, d := range damage {
		all = append(all, d.Digest)
	}
	return all
}

// TestScrubParts reads one part after the other until everything was read.
func TestScrubParts(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	for _, b := range blobs {
		spoil(t, dir, b)
	}
	st := open(t, dir, Options{})
	const parts = 4
	found := map[store.Digest]int{}
	assembled, whole := uint64(0), uint64(0)
	for part := 1; part <= parts; part++ {
		s := scrub(t, st, store.ScrubOptions{Parts: parts})
		if s.Part != part || s.NotRecorded != nil {
			t.Errorf("part %d of %d, not recorded: %v", s.Part, parts, s.NotRecorded)
		}
		for _, d := range digestsOf(s.damage) {
			found[d]++
		}
		assembled += s.Assembled
		if n := len(s.damage); part == 1 && (n == 0 || n == len(blobs)) {
			t.Errorf("the first of %d parts had %d of %d", parts, n, len(blobs))
		}
		whole = max(whole, uint64(len(found)))
		if uint64(len(s.damage)) != whole { // what was found is known from then on
			t.Errorf("part %d: %d are reported, and %d are known", part, len(s.damage), whole)
		}
	}
	if len(found) != len(blobs) || assembled != 2 {
		t.Errorf("%d of %d found, %d blobs assembled", len(found), len(blobs), assembled)
	}
	if s := scrub(t, st, store.ScrubOptions{Parts: parts}); s.Part != 1 {
		t.Errorf("part %d after the last one", s.Part)
	}
}

// TestScrubDuration stops a scrub early, again and again, until it has come to the end.
func TestScrubDuration(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	spoil(t, dir, blobs[7])
	st := open(t, dir, Options{})
	for i := range byte(3) { // with chunk lists in frames of their own
		putAll(t, st, random(101+i, 1<<20))
	}
	assembled, damage := uint64(0), 0
	at, seen := "", map[string]bool{}
	for runs := 1; ; runs++ {
		s := scrub(t, st, store.ScrubOptions{MaxDuration: 1}) // there is time for nothing but the least
		if s.Resumed != at || seen[s.Stopped] {
			t.Fatalf("run %d: resumed at %q, stopped at %q; the last one had stopped at %q", runs, s.Resumed, s.Stopped, at)
		}
		assembled, damage = assembled+s.Assembled, max(damage, len(s.damage))
		if at = s.Stopped; at == "" {
			break
		}
		seen[at] = true
	}
	if assembled != 5 || damage != 1 || len(seen) < 3 {
		t.Errorf("%d blobs assembled, %d damaged, stopped at %v", assembled, damage, seen)
	}
	scrub(t, st, store.ScrubOptions{MaxDuration: 1})
	rest := scrub(t, st, store.ScrubOptions{MaxDuration: 1 << 62})
	if rest.Resumed == "" || rest.Stopped != "" || len(rest.damage) != 1 || rest.Assembled != 5 {
		t.Errorf("%+v", rest)
	}
	if again := scrub(t, st, store.ScrubOptions{MaxDuration: 1}); again.Resumed != "" {
		t.Errorf("went on at %s after the end", again.Resumed)
	}
}

// TestScrubState parses places to go on from.
func TestScrubState(t *testing.T) {
	tests := []struct {
		json string
		ok   bool
	}{
		{`{"turn":0}`, true},
		{`{"turn":3,"pack":"0123456789abcdef","offset":16,"lists":true}`, true},
		{`{"turn":-1}`, false},
		{`{"pack":"0123"}`, false},
		{`{"pack":"0123456789abcdef00"}`, false},
		{`{"pack":"xyz"}`, false},
		{`{`, false},
	}
	dir := t.TempDir()
	st := open(t, dir, Options{Create: true})
	for _, tt := range tests {
		if err := os.WriteFile(filepath.Join(dir, "verify"), record.OneLine.Wrap([]byte(tt.json)), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := scrub(t, st, store.ScrubOptions{Parts: 2, NoRecord: true}); (len(s.harmless) == 0) != tt.ok {
			t.Errorf("%s: %+v", tt.json, s.harmless)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "verify"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := scrub(t, st, store.ScrubOptions{Parts: 2})
	if len(s.damage) > 0 || len(s.harmless) != 1 || s.harmless[0].What != store.DamageState || s.Part != 1 {
		t.Errorf("%+v", s)
	}
	if s := scrub(t, st, store.ScrubOptions{Parts: 2}); len(s.harmless) > 0 || s.Part != 2 {
		t.Errorf("%+v", s)
	}
}

// TestScrubStructure reads no contents, but notices what a pack is too short for.
func TestScrubStructure(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	spoil(t, dir, blobs[3])
	st := open(t, dir, Options{})
	s := scrub(t, st, store.ScrubOptions{Structure: true})
	if len(s.damage) > 0 || s.Bytes > 300<<10 || s.Assembled > 0 || s.Objects < uint64(len(blobs)) {
		t.Errorf("%+v", s)
	}
	packs, _ := filepath.Glob(filepath.Join(dir, pack.Dir, "*"))
	for _, path := range packs {
		fi, err := os.Stat(path)
		if err != nil || fi.Size() < 1<<20 {
			continue
		}
		if err := os.Truncate(path, fi.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	s = scrub(t, st, store.ScrubOptions{Structure: true})
	if len(s.damage) < 5 || s.damage[0].What != store.DamagePack {
		t.Errorf("%+v", s)
	}
}

// TestQuarantine puts a damaged blob into quarantine, in every way out of it.
func TestQuarantine(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	bad := store.Sum(blobs[5])
	spoil(t, dir, blobs[5])
	readOnly := open(t, dir, Options{ReadOnly: true})
	if s := scrub(t, readOnly, store.ScrubOptions{}); len(s.damage) != 1 || !errors.Is(s.NotRecorded, store.ErrReadOnly) {
		t.Errorf("%+v", s)
	}
	st := open(t, dir, Options{})
	if s := scrub(t, st, store.ScrubOptions{NoRecord: true}); len(s.damage) != 1 || s.NotRecorded != nil {
		t.Errorf("%+v", s)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, sealed.QuarantineDir)); err != nil || len(entries) > 0 {
		t.Errorf("recorded, although it should not be: %v, %v", entries, err)
	}
	s := scrub(t, st, store.ScrubOptions{})
	if !slices.Equal(digestsOf(s.damage), []store.Digest{bad}) || s.Recorded != 1 || s.NotRecorded != nil {
		t.Errorf("%+v", s)
	}
	for _, st := range []*store.Store{st, open(t, dir, Options{})} { // the same process, and another
		if has, err := st.Blobs.Has(ctx, bad); has || err != nil {
			t.Errorf("has %v, %v", has, err)
		}
		var corrupt *store.CorruptError
		_, err := st.Blobs.Open(ctx, bad)
		if !errors.As(err, &corrupt) || corrupt.Digest != bad || corrupt.Where == "" || !errors.Is(err, sealed.ErrQuarantined) {
			t.Errorf("open: %v", err)
		}
		if has, err := st.Blobs.Has(ctx, store.Sum(blobs[6])); !has || err != nil {
			t.Errorf("has another %v, %v", has, err)
		}
	}
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 1 || s.Recorded != 0 || s.Released != 0 {
		t.Errorf("the second time: %+v", s)
	}
	for _, o := range []store.ScrubOptions{{Structure: true}, {Parts: 1000}, {MaxDuration: 1}} { // it is not forgotten
		if s := scrub(t, st, o); !slices.Equal(digestsOf(s.damage), []store.Digest{bad}) || s.Recorded+s.Released != 0 {
			t.Errorf("%+v: %+v", o, s)
		}
	}
	spoil(t, dir, blobs[5]) // as if the pack came back from a backup
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 0 || s.Released != 1 {
		t.Errorf("restored: %+v", s)
	}
	if has, _ := st.Blobs.Has(ctx, bad); !has {
		t.Error("still in quarantine")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, sealed.QuarantineDir)); len(left) > 0 {
		t.Errorf("left in quarantine: %v", left)
	}
	spoil(t, dir, blobs[5])
	if s := scrub(t, st, store.ScrubOptions{}); s.Recorded != 1 {
		t.Errorf("%+v", s)
	}
	putAll(t, st, blobs[5])
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 0 || len(s.harmless) != 1 {
		t.Errorf("stored again: %+v", s)
	}
	if b, err := st.Blobs.Open(ctx, bad); err != nil {
		t.Error(err)
	} else if _, err := b.WriteTo(new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
}

// TestQuarantineMerge commits often after a blob was stored again. Its damaged record must never be the only one again.
func TestQuarantineMerge(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	spoil(t, dir, blobs[5])
	for i := range 20 {
		st, err := Open(ctx, dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			scrub(t, st, store.ScrubOptions{})
			putAll(t, st, blobs[5])
		}
		for j := range 5 {
			putAll(t, st, fmt.Appendf(nil, "%d %d", i, j))
		}
		_, err = st.Blobs.Open(ctx, store.Sum(blobs[5]))
		if store.IsCorrupt(err) != (i == 0) {
			t.Errorf("session %d: %v", i, err)
		}
		set := st.NewSet()
		if _, err := set.Add(store.KindFile, store.Sum(blobs[5])); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	indexes, err := os.ReadDir(filepath.Join(dir, index.Dir))
	if err != nil || len(indexes) > 6 {
		t.Errorf("%d indexes, %v", len(indexes), err)
	}
	st := open(t, dir, Options{})
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) > 0 || len(s.harmless) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestQuarantineOlderCopy has a whole copy of a blob that is found only when the damaged one is passed over.
func TestQuarantineOlderCopy(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	blob := random(1, (64 << 10))
	older, newer := open(t, dir, Options{Create: true}), open(t, dir, Options{})
	for i, st := range []*store.Store{older, newer} { // neither knows of the other
		others := [][]byte{blob}
		for j := range 10 * (2 - i) {
			others = append(others, fmt.Appendf(nil, "%d %d", i, j))
		}
		putAll(t, st, others...)
		if i == 0 {
			continue
		}
		names := *st.Scrubber.(care.Store).Indexes.Load()
		spoilPack(t, dir, names[0], blob)
	}
	reader := open(t, dir, Options{ReadOnly: true})
	if s := scrub(t, reader, store.ScrubOptions{}); len(s.damage) != 1 || s.damage[0].Kind != store.KindFile {
		t.Errorf("readers meet the damaged copy, but: %+v", s)
	}
	st := open(t, dir, Options{})
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 0 || len(s.harmless) != 1 || s.Recorded != 1 {
		t.Errorf("%+v", s)
	}
	if _, err := open(t, dir, Options{ReadOnly: true}).Blobs.Open(ctx, store.Sum(blob)); err != nil {
		t.Error(err)
	}
}

// spoilPack changes a byte of a blob in the pack that an index names.
func spoilPack(t *testing.T, dir string, x *index.Index, blob []byte) {
	t.Helper()
	d := store.Sum(blob)
	l, ok := x.Find(pack.KindData, &d)
	if !ok {
		t.Fatal("the blob is not in the index")
	}
	f, err := os.OpenFile(filepath.Join(dir, l.Frame.Pack.Path()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{^blob[100]}, l.Frame.Offset+int64(l.Frame.Start)+int64(l.Offset)+100); err != nil {
		t.Fatal(err)
	}
}

// TestQuarantineLost has all of a pack in quarantine by one line.
func TestQuarantineLost(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	st := open(t, dir, Options{})
	for _, x := range *st.Scrubber.(care.Store).Indexes.Load() {
		for _, p := range x.Packs {
			if err := os.Remove(filepath.Join(dir, p.ID.Path())); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := scrub(t, st, store.ScrubOptions{Parts: 100}) // what is lost is seen in any part
	if len(s.damage) < len(blobs)+2 || s.Objects != 0 {
		t.Errorf("%+v", s)
	}
	q, files, damage, err := sealed.ReadQuarantine(st.Scrubber.(care.Store).Fs)
	if err != nil || len(files) != 1 || len(damage) > 0 || len(q.Packs) != 2 || len(q.Places) != 0 {
		t.Errorf("%+v %v %v %v", q, files, damage, err)
	}
}

// TestQuarantineFiles reads damaged ones.
func TestQuarantineFiles(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir, Options{Create: true})
	lines := []byte("no line\n" + string(record.OneLine.Wrap([]byte(`{"pack":"xy","all":true}`))) + string(record.OneLine.Wrap([]byte(`{"pack":"0123456789abcdef","all":true}`))))
	if err := os.WriteFile(filepath.Join(dir, sealed.QuarantineDir, "x"), lines, 0o600); err != nil {
		t.Fatal(err)
	}
	q, _, damage, err := sealed.ReadQuarantine(st.Scrubber.(care.Store).Fs)
	if err != nil || len(damage) != 2 || len(q.Packs) != 1 {
		t.Errorf("%+v %v %v", q, damage, err)
	}
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 2 || s.damage[0].What != store.DamageState {
		t.Errorf("%+v", s)
	}
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 0 {
		t.Errorf("not written anew: %+v", s)
	}
}

// TestHasAllocates keeps lookups free of allocations.
func TestHasAllocates(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	st := open(t, dir, Options{}).Scrubber.(care.Store)
	d := store.Sum(blobs[0])
	has := func() {
		if !st.Has(pack.KindData, &d) {
			t.Fatal("gone")
		}
	}
	if n := testing.AllocsPerRun(100, has); n > 0 {
		t.Errorf("%v allocations", n)
	}
	spoil(t, dir, blobs[1])
	scrub(t, open(t, dir, Options{}), store.ScrubOptions{})
	st = open(t, dir, Options{}).Scrubber.(care.Store)
	if n := testing.AllocsPerRun(100, has); n > 0 {
		t.Errorf("%v allocations with something in quarantine", n)
	}
}

// TestScrubOnly looks at some objects only, and at no set of another store.
func TestScrubOnly(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	spoil(t, dir, blobs[1])
	spoil(t, dir, blobs[2])
	st := open(t, dir, Options{})
	set := st.NewSet()
	for _, b := range blobs[2:4] {
		if _, err := set.Add(store.KindFile, store.Sum(b)); err != nil {
			t.Fatal(err)
		}
	}
	s := scrub(t, st, store.ScrubOptions{Only: set})
	if !slices.Equal(digestsOf(s.damage), []store.Digest{store.Sum(blobs[2])}) || s.Bytes > 4*(64<<10) {
		t.Errorf("%+v", s)
	}
	other := open(t, t.TempDir(), Options{Create: true})
	_, err := other.Scrubber.Scrub(context.Background(), store.ScrubOptions{Only: set}, func(store.Damage) {})
	if !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

// TestScrubCancelled stops in the middle.
func TestScrubCancelled(t *testing.T) {
	dir := t.TempDir()
	scrubSample(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := open(t, dir, Options{}).Scrubber.Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) { t.Errorf("%+v", d) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestScrubAssembly has blobs in chunks that are all whole, and not what the blob's name says.
func TestScrubAssembly(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	st := open(t, dir, Options{})
	packed := st.Scrubber.(care.Store)
	var chunks []store.Chunk
	for _, b := range blobs[:4] {
		chunks = append(chunks, store.Chunk{Digest: store.Sum(b), Size: uint64(len(b))})
	}
	right := store.Sum(slices.Concat(blobs[:4]...))
	backwards := slices.Clone(chunks)
	slices.Reverse(backwards)
	missing := append(slices.Clone(chunks), store.Chunk{Digest: store.Sum([]byte("missing")), Size: 7})
	large := append(slices.Clone(chunks), store.Chunk{Digest: chunks[0].Digest, Size: 1})
	nested := append(slices.Clone(chunks), store.Chunk{Digest: right, Size: 1})
	twice := append(slices.Clone(chunks), chunks...)
	wrong := func(name string) store.Digest { return store.Sum([]byte(name)) }
	lists := map[store.Digest][]store.Chunk{
		right: chunks, wrong("backwards"): backwards, wrong("lost"): missing, wrong("large"): large, wrong("nested"): nested,
		store.Sum(slices.Concat(slices.Concat(blobs[:4]...), slices.Concat(blobs[:4]...))): twice,
	}
	for d, list := range lists {
		if err := packed.Put(pack.KindList, 0, d, pack.AppendList(nil, list)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	want := map[store.Digest]store.DamageKind{
		wrong("backwards"): store.DamageAssembly, wrong("missing"): store.DamageMissing, wrong("large"): store.DamageSize,
		wrong("nested"): store.DamageMissing,
	}
	set := st.NewSet()
	if _, err := set.Add(store.KindFile, right); err != nil {
		t.Fatal(err)
	}
	for _, o := range []store.ScrubOptions{{}, {}, {Structure: true}, {Parts: 1000}, {MaxDuration: 1}, {Only: set}, {}} {
		s := scrub(t, st, o)
		got := map[store.Digest]store.DamageKind{}
		for _, d := range s.damage {
			got[d.Digest] = d.What
			if d.What == store.DamageMissing && d.Digest == wrong("missing") && !slices.Equal(d.Also, []store.Digest{wrong("lost")}) {
				t.Errorf("%+v", d)
			}
		}
		if o.Only != nil {
			if len(got) > 0 || s.Assembled != 1 {
				t.Errorf("%+v: %+v", o, s)
			}
		} else if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v: %v, want %v", o, got, want)
		}
		if s.Released > 0 {
			t.Errorf("%+v: %+v", o, s)
		}
	}
	for _, name := range []string{"backwards", "lost", "large", "nested"} {
		if has, err := st.Blobs.Has(ctx, wrong(name)); has || err != nil {
			t.Errorf("has %s %v, %v", name, has, err)
		}
	}
}
