package care

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// newerLine returns an error that is store.ErrNewer if a newer program wrote a line of the store, wherever it is. Then
// nothing may be removed. It returns no other error. Of the quarantine it knows what was there when the store was opened,
// which must have been exclusively.
func (st Store) newerLine(ctx context.Context) error {
	_, err := sealed.ReadConfig(st.Fs)
	newer := sealed.FirstNewer(err)
	for _, list := range []iter.Seq2[store.Tag, error]{st.Tags().All(ctx), st.Tags().Log(ctx)} {
		for _, err := range list {
			newer = sealed.FirstNewer(newer, err)
		}
	}
	newer = sealed.FirstNewer(newer, st.Unjudged)
	if b, err := sealed.ReadSmall(st.Fs, stateName); err == nil {
		if err := new(scrubState).parse(b); err != nil {
			newer = sealed.FirstNewer(newer, record.At(st.Fs.Path(stateName), err))
		}
	}
	return newer
}

// newerBehind is newerLine for the lines to which symbolic links in the places of the log and of the tags lead.
func (r *repair) newerBehind(ctx context.Context) error {
	var newer error
	b, _ := r.fileBehind(sealed.LogName)
	lines := &sealed.LogReader{Lines: bufio.NewReader(bytes.NewReader(b)), Where: r.st.Fs.Path(sealed.LogName)}
	for _, err := range lines.All(ctx) {
		newer = sealed.FirstNewer(newer, err)
	}
	if r.st.isLink(sealed.TagsDir) {
		for name, b := range r.tagsBehind() {
			if _, err := record.DecodeTag(record.OneLine, b); err != nil {
				newer = sealed.FirstNewer(newer, record.At(r.st.Fs.Path(sealed.TagsDir+"/"+name), err))
			}
		}
	}
	return newer
}

// newer refuses a store that has something of a newer program in it: what this one does not find there is not lost. An
// index that can be read vouches for the packs that it names.
func (r *repair) newer(ctx context.Context) error {
	if err := cmp.Or(r.st.newerLine(ctx), r.newerBehind(ctx)); err != nil {
		return err
	}
	if fi, err := r.st.Fs.Stat(pack.Dir); err != nil || !fi.IsDir() {
		return nil // that is mended next
	}
	ids, err := r.st.Packs.IDs()
	if err != nil {
		return err
	}
	named := index.NamedPacks(*r.st.Indexes.Load())
	for _, id := range ids {
		if named[id] {
			continue
		}
		if err := r.st.Packs.Newer(id); err != nil {
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
		switch err := s.st.Packs.Newer(id); {
		case errors.Is(err, pack.ErrFormat):
			delete(p.packs, id)
		case err != nil:
			return err
		}
	}
	return nil
}
