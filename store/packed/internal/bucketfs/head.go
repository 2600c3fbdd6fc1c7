package bucketfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/record"
)

// HeadName is the object that says which indexes count. All commits go through it: each replaces it by one that it made
// from the one before, and fails if another process was faster.
const HeadName = "head"

// Head is the contents of that object, a sealed line.
type Head struct {
	Store      string      `json:"store"`      // the ID in the config
	Generation uint64      `json:"generation"` // one more at each change
	Epoch      uint64      `json:"epoch"`      // another one whenever objects may have been removed
	Nonce      string      `json:"nonce"`      // random: no two heads are alike
	Indexes    []string    `json:"indexes"`    // names in index/, ascending
	Pins       []Pin       `json:"pins,omitempty"`
	Condemned  []Condemned `json:"condemned,omitempty"`
	Quarantine bool        `json:"quarantine,omitempty"` // there may be files in quarantine/

	extra string // the other fields
}

// Pin keeps a root for which a tag or a line of the log is about to be written.
type Pin struct {
	Root    []byte       `json:"root"`             // a Node message with an empty name
	Listing store.Digest `json:"listing,omitzero"` // a blob
	Since   time.Time    `json:"since"`            // by the clock of the service
	extra   string
}

// Condemned is a pack or an index that is to be deleted. Its name is never used again.
type Condemned struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since"` // by the clock of the service
	extra string
}

// UnmarshalJSON keeps fields that this program does not know.
func (p *Pin) UnmarshalJSON(b []byte) (err error) { p.extra, err = record.Parse(b, p); return err }

// MarshalJSON implements json.Marshaler.
func (p Pin) MarshalJSON() ([]byte, error) {
	type plain Pin
	return record.Format(plain(p), p.extra)
}

// UnmarshalJSON keeps fields that this program does not know.
func (c *Condemned) UnmarshalJSON(b []byte) (err error) {
	c.extra, err = record.Parse(b, c)
	return err
}

// MarshalJSON implements json.Marshaler.
func (c Condemned) MarshalJSON() ([]byte, error) {
	type plain Condemned
	return record.Format(plain(c), c.extra)
}

var _ = []json.Marshaler{Pin{}, Condemned{}}

// Keeps reports whether a root and its listing are kept.
func (h *Head) Keeps(p Pin) bool {
	return slices.ContainsFunc(h.Pins, func(o Pin) bool { return bytes.Equal(o.Root, p.Root) && o.Listing == p.Listing })
}

// ParseHead reads a head from the bytes of its object. The error is store.ErrNewer for one of a newer program.
func ParseHead(b []byte) (h *Head, err error) {
	h = new(Head)
	if h.extra, err = record.OneLine.Decode(b, h); err != nil {
		return nil, err
	}
	if h.Store == "" || h.Generation == 0 {
		return nil, errors.New("not a head")
	}
	for _, name := range h.Indexes {
		if path.Base(name) != name || path.Ext(name) != index.Ext {
			return nil, fmt.Errorf("invalid name of an index %q", name)
		}
	}
	return h, nil
}

// Encode returns the bytes of the object.
func (h *Head) Encode() ([]byte, error) { return record.OneLine.Encode(h, h.extra) }

// clone returns a copy whose lists may be changed.
func (h *Head) clone() *Head {
	c := *h
	c.Indexes, c.Pins, c.Condemned = slices.Clone(h.Indexes), slices.Clone(h.Pins), slices.Clone(h.Condemned)
	return &c
}

// Condemns reports whether a file is to be deleted.
func (h *Head) Condemns(file string) bool {
	return slices.ContainsFunc(h.Condemned, func(c Condemned) bool { return c.Path == file })
}

// Condemn adds files that are to be deleted. Indexes among them do not count any more.
func (h *Head) Condemn(since time.Time, files ...string) {
	for _, file := range files {
		if dir, name := path.Split(file); dir == index.Dir+"/" {
			h.Indexes = slices.DeleteFunc(h.Indexes, func(x string) bool { return x == name })
		}
		if !h.Condemns(file) {
			h.Condemned = append(h.Condemned, Condemned{Path: file, Since: since})
		}
	}
}

// Pin keeps a root and its listing from now on.
func (h *Head) Pin(p Pin, since time.Time) {
	p.Since = since
	h.Pins = append(h.Pins, p)
}

// AddIndex adds an index that counts from now on.
func (h *Head) AddIndex(name string) {
	if n, there := slices.BinarySearch(h.Indexes, name); !there {
		h.Indexes = slices.Insert(h.Indexes, n, name)
	}
}

// Head returns the head as it was last loaded or written, or nil if there is none. It must not be changed.
func (f *FS) Head() *Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// Reload loads the head again. It asks the service once. A head that is damaged, or gone, is a *store.CorruptError;
// then Head returns the one before. It is no error that there has never been one.
func (f *FS) Reload() (*Head, error) {
	if f.lacks(HeadName) {
		return nil, nil
	}
	known := f.Head() != nil
	b, v, err := f.b.Load(f.ctx, HeadName)
	switch {
	case store.IsNotFound(err) && known:
		return nil, f.noHead()
	case store.IsNotFound(err):
		f.setHead(nil, bucket.Absent)
		return nil, nil
	case err != nil:
		return nil, f.failed(HeadName, err)
	}
	h, err := ParseHead(b)
	if err != nil {
		err = record.At(f.Path(HeadName), err)
	} else if err = f.foreign(h); err != nil {
		h = nil
	}
	if err == nil || !known {
		f.setHead(h, v)
	}
	return h, err
}

func (f *FS) noHead() error {
	return &store.CorruptError{Where: f.Path(HeadName), Err: errors.New("there is none")}
}

// CheckStore says which store this is. From now on the head of another one is damaged; the error says whether the one that was
// loaded is, which is forgotten then.
func (f *FS) CheckStore(id string) error {
	f.mu.Lock()
	f.store = id
	f.mu.Unlock()
	err := f.foreign(f.Head())
	if err != nil {
		f.mu.Lock()
		f.head = nil
		f.mu.Unlock()
	}
	return err
}

// foreign returns an error if a head, which may be nil, is that of another store.
func (f *FS) foreign(h *Head) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h == nil || f.store == "" || h.Store == f.store {
		return nil
	}
	return &store.CorruptError{Where: f.Path(HeadName), Err: fmt.Errorf("is of the store %q, not of %q", h.Store, f.store)}
}

// setHead takes over a head, unless a later one is known. One that was rebuilt is later, though its generation is less.
func (f *FS) setHead(h *Head, v bucket.Version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h == nil || f.head == nil || h.Generation >= f.head.Generation || h.Epoch > f.head.Epoch || h.Store != f.head.Store {
		f.head, f.headVersion = h, v
	}
}

// Swap replaces the head by what change makes of it. It calls change with the newest head, which may be changed, and again
// whenever another process was faster. It ends with the first error of change. What was sent before is in the bucket when
// the new head is.
func (f *FS) Swap(ctx context.Context, change func(h *Head) error) error {
	if err := f.flush(); err != nil {
		return err
	}
	f.setVacant(false)
	f.swapping.Lock()
	defer f.swapping.Unlock()
	for try := 0; ; try++ {
		f.mu.Lock()
		old, version := f.head, f.headVersion
		f.mu.Unlock()
		if old == nil {
			return f.noHead()
		}
		h := old.clone()
		if err := change(h); err != nil {
			return err
		}
		err := f.replaceHead(h, version)
		if !errors.Is(err, bucket.ErrChanged) {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
		if _, err := f.Reload(); err != nil {
			return err
		}
	}
}

// MakeHead makes the head of a store that has none, or in the place of one that is damaged. All indexes that there are
// count. Its epoch is one that no earlier head had, if the clock of the service is right.
func (f *FS) MakeHead(id string) error {
	f.UseCache(id)
	now, err := f.Now()
	if err != nil {
		return err
	}
	h := &Head{Store: id, Epoch: uint64(now.Unix())}
	entries, err := f.list(index.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if path.Ext(e.Name()) == index.Ext {
			h.Indexes = append(h.Indexes, e.Name())
		}
	}
	quarantine, err := f.list(sealed.QuarantineDir)
	if err != nil {
		return err
	}
	h.Quarantine = len(quarantine) > 0
	err = f.replaceHead(h, f.headVersion)
	if errors.Is(err, bucket.ErrChanged) {
		f.setVacant(false)
		_, err = f.Reload()
	}
	return err
}

// replaceHead writes a head in the place of the one of that version.
func (f *FS) replaceHead(h *Head, old bucket.Version) error {
	h.Generation++
	h.Nonce = durable.TempName()
	b, err := h.Encode()
	if err != nil {
		return err
	}
	v, err := f.b.PutIf(f.ctx, HeadName, b, old)
	if err != nil {
		return f.failed(HeadName, err)
	}
	f.setHead(h, v)
	return nil
}

// Now returns the time by the clock of the service.
func (f *FS) Now() (time.Time, error) {
	t, err := f.b.Now(f.ctx)
	return t.UTC().Round(0), err
}

// Probe returns an error if the service does not honor conditions, so that two writers could both believe that they have
// committed.
func (f *FS) Probe() error {
	name := "tmp/probe-" + durable.TempName()
	put := func(old bucket.Version) (bucket.Version, error) {
		return f.b.PutIf(f.ctx, name, []byte(durable.TempName()), old)
	}
	first, err := put(bucket.Absent)
	if err != nil {
		return f.failed(name, err)
	}
	defer f.sending.Go(func() { f.clear(name) })
	second, err := put(first)
	if err != nil {
		return f.failed(name, err)
	}
	var errs [2]error
	var both sync.WaitGroup
	for i, old := range []bucket.Version{bucket.Absent, first} {
		both.Go(func() { _, errs[i] = put(old) })
	}
	both.Wait()
	for _, err := range errs {
		switch {
		case err == nil || first == second:
			return fmt.Errorf("%s: %w", f.Path("."), errNoConditions)
		case !errors.Is(err, bucket.ErrChanged):
			return f.failed(name, err)
		}
	}
	return nil
}

var errNoConditions = fmt.Errorf("the service does not honor conditional writes, so writers could undo each other's: %w",
	store.ErrUnsupported)
