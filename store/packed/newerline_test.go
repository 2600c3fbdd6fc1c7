package packed

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// later writes the lines of a file as a later program would, with more fields.
func later(fsys *crashfs.FS, name, fields string) error {
	return overwrite(fsys, name, func(b []byte) []byte {
		var all []byte
		for line := range bytes.Lines(b) {
			if _, object, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" ")); ok {
				sum, err := record.Merge(string(object), fields)
				if err != nil {
					panic(err)
				}
				line = record.OneLine.Wrap([]byte(sum))
			}
			all = append(all, line...)
		}
		return all
	})
}

// lineStore returns a store that has a line of each sort, and the files in which they are.
func lineStore(t *testing.T) (s *sampler, fsys *crashfs.FS, files map[string]string) {
	t.Helper()
	s = newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	known := sealed.NewQuarantine()
	known.Places[sealed.Place{Frame: 16}], known.Packs[pack.ID{}] = struct{}{}, false
	lost, err := live.EncodeLost("nobody knows")
	if err != nil {
		t.Fatal(err)
	}
	fsys = r.fsys
	err = errors.Join(sealed.WriteQuarantine(fsys, known, nil), logTags(fsys),
		overwrite(fsys, live.LostPath, func([]byte) []byte { return lost }),
		overwrite(fsys, "verify", func([]byte) []byte { return record.OneLine.Wrap([]byte(`{"turn":1}`)) }))
	if err != nil {
		t.Fatal(err)
	}
	return s, fsys, map[string]string{"config": sealed.ConfigName, "tag": sealed.TagPath("moved"), "log": sealed.LogName, "lost": live.LostPath,
		"quarantine": named(fsys, sealed.QuarantineDir)[0], "state": "verify"}
}

// scrubAll is a verify that writes its state.
func scrubAll(t *testing.T, fsys *crashfs.FS) (store.ScrubResult, []store.Damage, error) {
	t.Helper()
	st, err := openFS(t.Context(), fsys, Options{Tolerate: true})
	if err != nil {
		return store.ScrubResult{}, nil, err
	}
	defer closeStore(t, st)
	var found []store.Damage
	result, err := care.New(st).Scrub(t.Context(), store.ScrubOptions{Parts: 2}, func(d store.Damage) { found = append(found, d) })
	return result, found, err
}

// A line of a later program with more fields is a line like another. What writes it again keeps the fields.
func TestMoreFields(t *testing.T) {
	for _, fields := range []string{`{"why":"x"}`, `{"why":{"a":[1,{"b":"x"}]}}`, `{"why":"x","needs":[]}`} {
		s, fsys, files := lineStore(t)
		for _, name := range files {
			if err := later(fsys, name, fields); err != nil {
				t.Fatal(err)
			}
		}
		if result, found, err := scrubAll(t, fsys); err != nil || len(found)+len(result.Newer) > 0 {
			t.Errorf("%s: verify: %v, %v, %v", fields, found, result.Newer, err)
		}
		if b := fsys.Files()["verify"]; !bytes.Contains(b, []byte(`"turn":2`)) {
			t.Errorf("%s: verify wrote %s", fields, b)
		}
		// Repair drops a line of the log that is damaged, and restores a tag from the log.
		err := errors.Join(overwrite(fsys, sealed.LogName, func(b []byte) []byte { return append([]byte("bad\n"), b...) }),
			overwrite(fsys, sealed.TagPath("early2"), func([]byte) []byte { return []byte("bad") }))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.repair(fsys, store.RepairOptions{}); err != nil {
			t.Errorf("%s: repair: %v", fields, err)
		}
		if b := fsys.Files()[sealed.LogName]; bytes.HasPrefix(b, []byte("bad")) {
			t.Errorf("%s: repair left %s", fields, b)
		}
		st, err := openFS(t.Context(), fsys, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := record.Merge(fields, "")
		tag, terr := st.Tags().Get(t.Context(), "early2")
		if err != nil || terr != nil || !sameObject(tag.Extra, want) {
			t.Errorf("%s: the tag has %s, %v, %v", fields, tag.Extra, err, terr)
		}
		// A copy, as castar copy makes it.
		tag.Name = "copy"
		if err := st.Tags().Set(t.Context(), tag); err != nil {
			t.Error(err)
		}
		closeStore(t, st)
		for sort, name := range files {
			if sort == "quarantine" { // nothing is damaged, so no line is left
				continue
			}
			b := fsys.Files()[name]
			if lines := max(1, bytes.Count(b, []byte(`"root"`))); bytes.Count(b, []byte(`"why"`)) != lines {
				t.Errorf("%s: %s lost them: %s", fields, sort, b)
			}
		}
		if b := fsys.Files()[sealed.TagPath("copy")]; !bytes.Contains(b, []byte(`"why"`)) {
			t.Errorf("%s: a copied tag lost them: %s", fields, b)
		}
	}
}

// sameObject reports whether two JSON objects have the same fields, which one of both sorts.
func sameObject(a, b string) bool {
	x, xerr := record.Merge(a, `{}`)
	y, yerr := record.Merge(b, `{}`)
	return xerr == nil && yerr == nil && x == y
}

// Fields of a quarantine's lines and of their items stay as long as the damage does.
func TestMoreFieldsOfQuarantine(t *testing.T) {
	q := sealed.NewQuarantine()
	wrap := func(object string) []byte { return record.OneLine.Wrap([]byte(object)) }
	d := store.Sum(nil).String()
	for _, line := range []string{
		`{"pack":"0123456789abcdef","all":true,"why":"all"}`,
		`{"pack":"1111111111111111","frame":16,"items":[{"digest":"` + d + `","offset":1,"note":"item"},{"digest":"` + d + `","offset":2}],"why":{"a":"line"}}`,
		`{"pack":"1111111111111111","frame":16,"items":[{"digest":"` + d + `","offset":3}],"also":1}`,
		`{"pack":"2222222222222222","all":true,"swept":true,"why":"swept"}`,
	} {
		if err := q.Add(wrap(line)); err != nil {
			t.Fatal(err)
		}
	}
	again := sealed.NewQuarantine() // what a verify finds: the same but one item
	again.Take(q)
	again.Swept = q.Swept
	again.Extra = map[sealed.Place]string{}
	for p := range again.Places {
		if p.Offset == 2 {
			delete(again.Places, p)
		}
	}
	again.Inherit(q)
	b, err := again.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"why":"all"`, `"note":"item"`, `"why":{"a":"line"}`, `"also":1`, `"why":"swept"`} {
		if strings.Count(string(b), want) != 1 {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	read := sealed.NewQuarantine()
	for line := range bytes.Lines(b) {
		if err := read.Add(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if !maps.Equal(read.Places, again.Places) || !maps.Equal(read.Packs, again.Packs) || !maps.Equal(read.Swept.Packs, q.Swept.Packs) {
		t.Errorf("%+v comes back as %+v", again, read)
	}
	if rest := read.WithoutSwept(); len(rest.Packs) != 2 || len(rest.Extra) < 3 {
		t.Errorf("%+v", rest)
	}
}

// A line that needs what this program does not know is no damage, and nothing is removed or written anew.
func TestNeedsMore(t *testing.T) {
	for _, sort := range []string{"config", "tag", "log", "lost", "quarantine", "state"} {
		t.Run(sort, func(t *testing.T) {
			s, fsys, files := lineStore(t)
			if err := later(fsys, files[sort], `{"needs":["words"],"words":[]}`); err != nil {
				t.Fatal(err)
			}
			before := fsys.Files()
			check := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, store.ErrNewer) || store.IsCorrupt(err) || !strings.Contains(err.Error(), files[sort]) || !strings.Contains(err.Error(), `"words"`) {
					t.Errorf("%s: error %v", what, err)
				}
				if !maps.EqualFunc(before, fsys.Files(), bytes.Equal) {
					t.Fatalf("%s changed files", what)
				}
			}
			_, err := s.repair(fsys, store.RepairOptions{})
			check("repair", err)
			for _, dry := range []bool{true, false} {
				check(fmt.Sprint("sweep, dry run ", dry), sweepAll(t, fsys, dry))
			}
			result, found, err := scrubAll(t, fsys)
			switch {
			case sort == "config":
				check("verify", err)
				return
			case err != nil || len(found) > 0:
				t.Errorf("verify: %v, %v", found, err)
			case sort == "quarantine" || sort == "state":
				if len(result.Newer) != 1 {
					t.Errorf("verify: %v", result.Newer)
				}
				check("verify", result.Newer[0])
			}
			needsMoreReading(t, fsys, sort)
		})
	}
}

// needsMoreReading reads what does not need the line, and changes what does.
func needsMoreReading(t *testing.T, fsys *crashfs.FS, sort string) {
	st, err := openFS(t.Context(), fsys, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	_, tag := sampleTag(2, "early2")
	got, err := st.Tags().Get(t.Context(), "early2")
	if err != nil || got.Root != tag.Root {
		t.Errorf("another tag is %+v, %v", got, err)
	}
	if _, err := st.Directories().Get(t.Context(), got.Root.Digest); err != nil {
		t.Error(err)
	}
	closeStore(t, st)
	st, err = openFS(t.Context(), fsys, Options{})
	if sort == "quarantine" {
		if !errors.Is(err, store.ErrNewer) { // it would take for stored what is damaged
			t.Errorf("opened to write: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	_, tag = sampleTag(2, "moved")
	tag.Time = time.Unix(0, 0)
	for what, err := range map[string]error{"Set": st.Tags().Set(t.Context(), tag), "Delete": st.Tags().Delete(t.Context(), "moved")} {
		if errors.Is(err, store.ErrNewer) != (sort == "tag") {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if err := st.Tags().Record(t.Context(), tag); err != nil {
		t.Error(err)
	}
}

// sweepAll sweeps everything, as castar gc --all does without a tag.
func sweepAll(t *testing.T, fsys *crashfs.FS, dry bool) error {
	t.Helper()
	st, err := openFS(t.Context(), fsys, Options{Exclusive: true, ReadOnly: dry})
	if err != nil {
		return err
	}
	defer closeStore(t, st)
	_, err = care.New(st).Sweep(t.Context(), st.NewSet(), store.SweepOptions{DryRun: dry, TagsLost: true})
	return err
}

// Verify says of a pack of a newer program that it was not checked.
func TestVerifyNewerPack(t *testing.T) {
	_, fsys, _ := lineStore(t)
	name := pack.Dir + "/0123456789abcdef" + pack.Ext
	if err := overwrite(fsys, name, func([]byte) []byte { return newerPack() }); err != nil {
		t.Fatal(err)
	}
	result, found, err := scrubAll(t, fsys)
	if err != nil || len(found) > 0 || len(result.Newer) != 1 || !errors.Is(result.Newer[0], store.ErrNewer) || !strings.Contains(result.Newer[0].Error(), name) {
		t.Errorf("%v, %v, %v", found, result.Newer, err)
	}
}
