package live

import (
	"context"
	"iter"
	"slices"

	"castar/store"
	"castar/store/packed/pack"
)

// Directories implements store.Directories.
type Directories struct{ st *Store }

// Directories returns the directories of the store.
func (st *Store) Directories() Directories { return Directories{st} }

// Get implements store.Directories.
func (ds Directories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st := ds.st
	l, data, err := st.Lookup(pack.KindDirectory, d, true)
	if err != nil {
		return nil, err
	}
	var dir store.Directory
	decode := func(data []byte) (err error) {
		if err := st.verify(d, l, data); err != nil {
			return err
		}
		if dir, err = store.DecodeDirectory(data); err != nil {
			return &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: err}
		}
		return nil
	}
	if data != nil {
		err = decode(data)
	} else {
		err = st.Packs.Use(l, decode)
	}
	if err != nil {
		return nil, st.about(d, err)
	}
	return dir, nil
}

// Put implements store.Directories.
func (ds Directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := ctx.Err(); err != nil {
		return store.Digest{}, err
	}
	b, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(b)
	return d, ds.st.PutWhole(pack.KindDirectory, 0, d, b)
}

// Walk implements store.Directories.
func (ds Directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, ds, root)
}

// Upload implements store.Directories.
func (ds Directories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), ds.st.Writable()
}

// list returns the session's digests that begin with the first nibbles hexadecimal digits of prefix.
func (s *session) list(prefix store.Digest, nibbles int) (found []store.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	matches := func(d store.Digest) bool {
		whole := nibbles / 2
		return slices.Equal(d[:whole], prefix[:whole]) && (nibbles%2 == 0 || d[whole]>>4 == prefix[whole]>>4)
	}
	for _, objects := range s.objects {
		for d := range objects {
			if matches(d) {
				found = append(found, d)
			}
		}
	}
	return found
}
