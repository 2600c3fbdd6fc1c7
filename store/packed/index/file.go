package index

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/pack"
)

// Open maps the index file with that name in Dir, until Close. Damage is a *store.CorruptError, and the error is
// pack.ErrFormat for an index of a newer program.
func Open(fsys durable.FS, name string) (*Index, error) {
	f, err := fsys.Open(Path(name))
	if err != nil {
		return nil, err
	}
	data, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	x, err := Parse(data)
	if err != nil {
		f.Unmap(data)
		if errors.Is(err, pack.ErrFormat) {
			return nil, fmt.Errorf("%s: %w", fsys.Path(Path(name)), err)
		}
		return nil, &store.CorruptError{Where: fsys.Path(Path(name)), Err: err}
	}
	x.Name, x.file = name, f
	return x, nil
}

// mapFile maps a file and closes it. The map stays.
func mapFile(f durable.File) ([]byte, error) {
	data, err := f.Map()
	if cerr := f.Close(); err == nil && cerr != nil {
		f.Unmap(data)
		err = cerr
	}
	return data, err
}

// Close unmaps indexes and returns the first error.
func Close(all ...*Index) (err error) {
	for _, x := range all {
		err = errors.Join(err, x.file.Unmap(x.data))
	}
	return err
}

// Evict says that the pages of the index need not stay in memory.
func (x *Index) Evict() { x.file.Evict(x.data) }

// HasName reports whether one of the indexes has a name.
func HasName(all []*Index, name string) bool {
	return slices.ContainsFunc(all, func(x *Index) bool { return x.Name == name })
}

// NewName returns a name that sorts after those of all, also if the clock was set back.
func NewName(all []*Index) string {
	stamp := fmt.Sprintf("%016x", time.Now().UnixNano())
	for _, x := range all {
		if len(x.Name) < 16 || x.Name[:16] < stamp {
			continue
		}
		if newest, err := strconv.ParseUint(x.Name[:16], 16, 64); err == nil && newest < math.MaxUint64 {
			stamp = fmt.Sprintf("%016x", newest+1)
		}
	}
	return stamp + "-" + durable.TempName() + Ext
}
