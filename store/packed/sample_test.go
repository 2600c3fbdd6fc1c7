package packed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// ledger is what a store has promised: everything whose Sync, Set or Record has returned.
type ledger struct {
	at    int    // how many operations the file system had recorded by then
	id    string // of the store
	blobs map[store.Digest][]byte
	dirs  map[store.Digest]store.Directory
	tags  map[string][]store.Tag // which each may be, the zero Tag being none; a tag that is not here may be any
	log   []store.Tag

	mayLoseTags bool // that others were lost may be said
}

func newLedger() ledger {
	return ledger{
		blobs: map[store.Digest][]byte{}, dirs: map[store.Digest]store.Directory{}, tags: map[string][]store.Tag{},
	}
}

func (l ledger) clone() ledger {
	l.blobs, l.dirs, l.tags, l.log = maps.Clone(l.blobs), maps.Clone(l.dirs), maps.Clone(l.tags), slices.Clone(l.log)
	return l
}

// or returns l, in which tags may also be what next promises, for that may have been under way.
func (l ledger) or(next ledger) ledger {
	l = l.clone()
	for name, may := range l.tags {
		l.tags[name] = append(slices.Clip(may), next.tags[name]...)
	}
	return l
}

// random returns n bytes that are the same in every run.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// sampleBlobs returns the blobs of a session of the sample ingest: small ones, one of several chunks, and in the second
// session one of the first again.
func sampleBlobs(session int) [][]byte {
	return [][]byte{
		{},
		fmt.Appendf(nil, "a small blob of session %d", session),
		bytes.Repeat(fmt.Appendf(nil, "%d", session), 300),
		random(byte(session), 2500),
	}
}

// sampleTag returns a tag of a directory that refers to the blobs, and the directory.
func sampleTag(session int, name string) (store.Directory, store.Tag) {
	var dir store.Directory
	for i, b := range sampleBlobs(session) {
		dir = append(dir, store.Node{Kind: store.KindFile, Name: fmt.Sprintf("file %d", i), Digest: store.Sum(b), Size: uint64(len(b))})
	}
	b, _ := store.EncodeDirectory(dir)
	root := store.Node{Kind: store.KindDirectory, Digest: store.Sum(b), Size: uint64(len(dir))}
	at := time.Date(2024, 1, session, 0, 0, 0, 0, time.UTC)
	return dir, store.Tag{Name: name, Root: root, Time: at, Source: "/src", Counts: store.Counts{Files: uint64(len(dir))}}
}

// sampler opens thousands of stores that share what is dear to make, and cut blobs into chunks of a few hundred bytes.
type sampler struct {
	cutter *chunk.Cutter
	coders *pack.Coders
	makes  bool // the next ingest makes the store
	late   bool // a session begins with Sync and not with a tag
}

func newSampler() *sampler {
	s := new(sampler)
	s.coders, _ = pack.NewCoders(1, 8, 100)
	s.cutter, _ = chunk.NewCutter(chunk.MinAvg)
	return s
}

func (s *sampler) open(ctx context.Context, fsys durable.FS, create bool) (*live.Store, error) {
	st, err := openFS(ctx, fsys, Options{Create: create})
	if err == nil {
		st.Cutter, st.Packs.Coders = s.cutter, s.coders
		st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	}
	return st, err
}

// ingest runs two sessions as two processes would, one after the other, and calls promise whenever the store promises
// more. The second merges the indexes, moves one tag and removes another.
func (s *sampler) ingest(ctx context.Context, fsys durable.FS, promise func(ledger)) error {
	l := newLedger()
	for n := 1; n <= 2; n++ {
		if err := s.session(ctx, fsys, n, &l, promise); err != nil {
			return err
		}
	}
	return nil
}

func (s *sampler) session(ctx context.Context, fsys durable.FS, n int, l *ledger, promise func(ledger)) (err error) {
	st, err := s.open(ctx, fsys, true)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, st.Close()) }()
	did := func(err error, what func()) error {
		if err == nil {
			*l = l.clone()
			what()
			promise(*l)
		}
		return err
	}
	if s.makes { // what another process made is durable when this one is told so
		did(nil, func() { l.id = st.Config.ID })
	}
	steps := []func() error{
		func() error {
			if s.late {
				return nil
			}
			_, tag := sampleTag(n, fmt.Sprintf("early%d", n))
			return did(st.Tags().Set(ctx, tag), func() { l.id, l.tags[tag.Name] = st.Config.ID, []store.Tag{tag} })
		},
		func() error {
			next := l.clone()
			err := cmp.Or(sampleStore(ctx, st, n, &next), st.Sync(ctx))
			return did(err, func() { *l, l.id = next, st.Config.ID })
		},
		func() error {
			_, tag := sampleTag(n, "recorded")
			return did(st.Tags().Record(ctx, tag), func() { l.log = append(l.log, tag) })
		},
		func() error {
			_, tag := sampleTag(n, "moved")
			return did(st.Tags().Set(ctx, tag), func() { l.tags[tag.Name] = []store.Tag{tag} })
		},
		func() error {
			if n == 1 || s.late {
				return nil
			}
			return did(st.Tags().Delete(ctx, "early1"), func() { l.tags["early1"] = []store.Tag{{}} })
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// sampleStore puts what a session has, and enters it into l.
func sampleStore(ctx context.Context, st *live.Store, session int, l *ledger) error {
	for _, data := range sampleBlobs(session) {
		d, err := st.Blobs().Put(ctx, data)
		if err != nil {
			return err
		}
		if d != store.Sum(data) {
			return fmt.Errorf("put returned %s, want %s", d, store.Sum(data))
		}
		l.blobs[d] = data
	}
	dir, tag := sampleTag(session, "")
	d, err := st.Directories().Put(ctx, dir)
	if err != nil {
		return err
	}
	if d != tag.Root.Digest {
		return fmt.Errorf("put returned %s, want %s", d, tag.Root.Digest)
	}
	l.dirs[d] = dir
	return nil
}

// verifyStore reports how a store does not keep what it promised, or shows what is not whole.
func verifyStore(ctx context.Context, st *live.Store, l ledger) error {
	if l.id != "" && st.Config.ID != l.id {
		return fmt.Errorf("store has ID %s, want %s", st.Config.ID, l.id)
	}
	for d, data := range l.blobs {
		if got, err := readBlob(ctx, st, d); err != nil || !bytes.Equal(got, data) {
			return fmt.Errorf("blob %s was promised: %d bytes, want %d: %w", d, len(got), len(data), cmp.Or(err, errDiffers))
		}
	}
	for d, dir := range l.dirs {
		if got, err := st.Directories().Get(ctx, d); err != nil || !reflect.DeepEqual(got, dir) {
			return fmt.Errorf("directory %s was promised: %w", d, cmp.Or(err, errDiffers))
		}
	}
	return cmp.Or(verifyTags(ctx, st, l), verifyLog(ctx, st, l), verifyVisible(ctx, st))
}

var errDiffers = errors.New("differs")

func readBlob(ctx context.Context, st *live.Store, d store.Digest) ([]byte, error) {
	b, err := st.Blobs().Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var buf bytes.Buffer
	_, err = b.WriteTo(&buf)
	return buf.Bytes(), err
}

func verifyTags(ctx context.Context, st *live.Store, l ledger) error {
	got := map[string]store.Tag{}
	for tag, err := range st.Tags().All(ctx) {
		if errors.Is(err, store.ErrTagsLost) && l.mayLoseTags {
			continue
		}
		if err != nil {
			return err
		}
		got[tag.Name] = tag
	}
	for _, name := range []string{"early1", "early2", "moved"} {
		tag, err := st.Tags().Get(ctx, name)
		if err != nil && !store.IsNotFound(err) {
			return err
		}
		may, promised := l.tags[name]
		if tag != got[name] || promised && !slices.Contains(may, tag) {
			return fmt.Errorf("tag %q is %v, listed as %v, want one of %v", name, tag, got[name], may)
		}
	}
	return nil
}

// verifyLog looks for the promised records in order. Others may be there, and a torn one that was not promised.
func verifyLog(ctx context.Context, st *live.Store, l ledger) error {
	want := l.log
	for tag, err := range st.Tags().Log(ctx) {
		if err == nil && len(want) > 0 && tag == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("log lacks %d promised records, the first %v", len(want), want[0])
	}
	return nil
}

// verifyVisible reads everything that is listed, whose bytes must hash to their names.
func verifyVisible(ctx context.Context, st *live.Store) error {
	for d, err := range st.List(ctx, store.Digest{}, 0) {
		if err != nil {
			return err
		}
		seen := false
		if st.Has(pack.KindDirectory, &d) {
			seen = true
			if _, err := st.Directories().Get(ctx, d); err != nil {
				return fmt.Errorf("listed directory: %w", err)
			}
		}
		if st.Has(pack.KindData, &d) {
			seen = true
			if data, err := readBlob(ctx, st, d); err != nil || store.Sum(data) != d {
				return fmt.Errorf("listed blob %s: %w", d, cmp.Or(err, io.ErrUnexpectedEOF))
			}
		}
		if !seen {
			return fmt.Errorf("%s is listed and not there", d)
		}
	}
	return nil
}
