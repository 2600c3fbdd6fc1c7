package packed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
	"castar/store/record"
)

// newerLine returns an error that is store.ErrNewer if a newer program wrote a line of the store, wherever it is. Then
// nothing may be removed. It returns no other error. Of the quarantine it knows what was there when the store was opened,
// which must have been exclusively.
func (st careStore) newerLine(ctx context.Context) error {
	return firstNewer(func(yield func(error) bool) {
		if _, err := readConfig(st.fs); !yield(err) {
			return
		}
		for _, list := range []iter.Seq2[store.Tag, error]{(tags{st.Store}).All(ctx), (tags{st.Store}).Log(ctx)} {
			for _, err := range list {
				if !yield(err) {
					return
				}
			}
		}
		if !yield(st.unjudged) {
			return
		}
		b, err := readSmall(st.fs, stateName)
		if err == nil {
			err = new(scrubState).parse(b)
		}
		if err != nil {
			yield(record.At(st.fs.Path(stateName), err))
		}
	})
}

// newerBehind is newerLine for the lines to which symbolic links in the places of the log and of the tags lead.
func (r *repair) newerBehind(ctx context.Context) error {
	return firstNewer(func(yield func(error) bool) {
		b, _ := r.fileBehind(logName)
		lines := &logReader{lines: bufio.NewReader(bytes.NewReader(b)), where: r.st.fs.Path(logName)}
		for _, err := range lines.all(ctx) {
			if !yield(err) {
				return
			}
		}
		if !r.st.isLink(tagsDir) {
			return
		}
		for name, b := range r.tagsBehind() {
			if _, err := record.DecodeTag(record.OneLine, b); err != nil && !yield(record.At(r.st.fs.Path(tagsDir+"/"+name), err)) {
				return
			}
		}
	})
}

// newer refuses a store that has something of a newer program in it: what this one does not find there is not lost. An
// index that can be read vouches for the packs that it names.
func (r *repair) newer(ctx context.Context) error {
	if err := cmp.Or(r.st.newerLine(ctx), r.newerBehind(ctx)); err != nil {
		return err
	}
	if fi, err := r.st.fs.Stat(pack.Dir); err != nil || !fi.IsDir() {
		return nil // that is mended next
	}
	ids, err := r.st.packs.IDs()
	if err != nil {
		return err
	}
	named := index.NamedPacks(*r.st.indexes.Load())
	for _, id := range ids {
		if named[id] {
			continue
		}
		if err := r.st.packs.Newer(id); err != nil {
			return err
		}
	}
	return nil
}

// leaveNewer takes packs of a newer program out of a plan, which no index of this one names.
func (s *sweep) leaveNewer(p *plan) error {
	named := index.NamedPacks(p.indexes)
	for id := range p.packs {
		if named[id] {
			continue
		}
		switch err := s.st.packs.Newer(id); {
		case errors.Is(err, pack.ErrFormat):
			delete(p.packs, id)
		case err != nil:
			return err
		}
	}
	return nil
}
