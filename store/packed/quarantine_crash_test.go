package packed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
	"castar/store/storetest"
)

// scrubOn opens a store and scrubs a half of it, which leaves a state.
func (s *sampler) scrubOn(t *testing.T, fsys durable.FS) error {
	st, err := s.open(t.Context(), fsys, false)
	if err != nil {
		return err
	}
	r, err := care.New(st).Scrub(t.Context(), store.ScrubOptions{Parts: 1, MaxDuration: 1 << 40}, func(store.Damage) {})
	return errors.Join(err, r.NotRecorded, st.Close())
}

// falseAlarm returns a store of which all is in the quarantine, and whole.
func falseAlarm(t *testing.T) run {
	r, err := newSampler().run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	if err := hurts["whole packs in quarantine"](r.fsys); err != nil {
		t.Fatal(err)
	}
	return r
}

// scrubCrashes releases what is in the quarantine, also by a scrub that is killed at any moment, then ingests
// the same again, which stores nothing, and crashes.
func (c *crasher) scrubCrashes(t *testing.T, r run) error {
	fsys := r.fsys.Clone()
	if err := c.scrubOn(t, c.wrap(fsys)); err != nil {
		return err
	}
	for k := r.fsys.Len(); k <= fsys.Len(); k++ {
		for state := range fsys.States(k, c.limit, uint64(k)) {
			c.tried++
			err := checkStates(state)
			if k == fsys.Len() {
				err = cmp.Or(err, c.verify(state, r.final()))
				if got, want := state.Files()["verify"], fsys.Files()["verify"]; err == nil && !bytes.Equal(got, want) {
					err = fmt.Errorf("state %q, want %q", got, want)
				}
			}
			if err != nil {
				return fmt.Errorf("crash after %s: %w", upTo(fsys, k), err)
			}
		}
		killed := fsys.Kill(k)
		if q, _, _, _ := sealed.ReadQuarantine(killed); q != nil {
			continue
		}
		next, err := c.run(killed, c.wrap, newLedger())
		if err != nil {
			return err
		}
		for _, l := range next.promised {
			if len(l.blobs) == 0 {
				continue // what was there was not asked for
			}
			for state := range next.fsys.States(l.at, c.limit, uint64(k)) {
				c.tried++
				if err := c.verify(state, l); err != nil {
					return fmt.Errorf("killed after %s, crash after %s: %w", upTo(fsys, k), upTo(next.fsys, l.at), err)
				}
			}
		}
	}
	return nil
}

// checkStates reports what in the quarantine, or in the state of a scrub, cannot be read.
func checkStates(fsys *crashfs.FS) error {
	_, _, damage, err := sealed.ReadQuarantine(fsys)
	b, there := fsys.Files()["verify"]
	if there && err == nil {
		_, err = record.OneLine.Decode(b, &struct{}{})
	}
	return errors.Join(append(damage, err)...)
}

// alarm returns a store in which the contents of a frame are damaged. It has no quarantine yet, as those of the first
// programs.
func alarm(t *testing.T) run {
	r, err := newSampler().run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	if err := cmp.Or(r.fsys.Remove(sealed.QuarantineDir), r.fsys.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	for _, name := range named(r.fsys, pack.Dir) {
		if err := overwrite(r.fsys, name, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// healCrashes finds damage and crashes. What is damaged is then stored once more.
func (c *crasher) healCrashes(t *testing.T, r run) error {
	fsys := r.fsys.Clone()
	if err := c.scrubOn(t, c.wrap(fsys)); err != nil {
		return err
	}
	for state := range fsys.States(fsys.Len(), c.limit, 1) {
		c.tried++
		next, err := c.run(state, asIs, newLedger())
		if err == nil {
			err = cmp.Or(checkStates(state), c.verify(state, next.final()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestQuarantineCrash releases from the quarantine what is whole, and puts into it what is not.
func TestQuarantineCrash(t *testing.T) {
	c := newCrasher(asIs, crashStates(60), 0)
	if err := c.scrubCrashes(t, falseAlarm(t)); err != nil {
		t.Error(err)
	}
	if err := c.healCrashes(t, alarm(t)); err != nil {
		t.Error(err)
	}
	t.Logf("%d states", c.tried)
}

// Without any one of its calls of fsync a scrub breaks a promise.
func TestQuarantineNeedsEverySync(t *testing.T) {
	storetest.NotUnderRace(t)
	var all omitter
	releases, records := falseAlarm(t), alarm(t)
	for _, r := range []run{releases, records} {
		if err := newSampler().scrubOn(t, all.wrap(r.fsys.Clone())); err != nil {
			t.Fatal(err)
		}
	}
	all.sites["live.(*Store).settle syncs quarantine"] = true // by the ingest that follows
	for _, site := range slices.Sorted(maps.Keys(all.sites)) {
		t.Run(site, func(t *testing.T) {
			without := omitter{omit: site}
			c := newCrasher(without.wrap, 60, 0)
			err := cmp.Or(c.scrubCrashes(t, releases), c.healCrashes(t, records))
			if err == nil {
				t.Errorf("no state is wrong of %d", c.tried)
			}
			t.Log(err)
		})
	}
}
