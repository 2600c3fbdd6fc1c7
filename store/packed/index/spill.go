package index

import (
	"errors"
	"io/fs"

	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/table"
)

// spill is a temporary file for a sorted run.
type spill struct {
	fs   durable.FS
	name string
	durable.File
	data []byte
}

func newSpill(fsys durable.FS) (table.Spill, error) {
	name := pack.TempPath(durable.TempName())
	f, err := fsys.Create(name)
	return &spill{fs: fsys, name: name, File: f}, err
}

// Map implements table.Spill.
func (s *spill) Map() (data []byte, err error) {
	s.data, err = s.File.Map()
	return s.data, err
}

// Close implements table.Spill.
func (s *spill) Close() error {
	err := errors.Join(s.File.Unmap(s.data), s.File.Close(), s.fs.Remove(s.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone is gone
	}
	return err
}
