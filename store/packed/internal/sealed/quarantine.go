package sealed

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/pack"
	"castar/store/record"
)

// The quarantine lists the places of damaged objects. Lookups skip them, so the store does not claim to have what it
// cannot return. It is in the files of quarantine/. Each scrub writes a new file with all current lines, and removes
// the files that it read. Of two files that say different things, both count. A file is sealed lines:
//
//	line = {"pack":"<16 hexadecimal digits>","all":true}                            all of a pack
//	     | {"pack":…,"frame":<offset>,"items":[{"digest":…,"offset":<in the payload>}…]}   some objects of a frame
//
// With "swept":true the objects are not damaged but dead: a sweep that had no room for an index without them removes them.
const QuarantineDir = "quarantine"

// Quarantine is the places of damaged objects. It is immutable; nil is the empty one.
type Quarantine struct {
	Packs  map[pack.ID]bool // those that have something in it; true: all of the pack
	Places map[Place]struct{}
	// What of it is no damage: a sweep was removing it. Nil: nothing.
	Swept *Quarantine
	// The fields of lines and items that this program does not know. The place of a line has its pack and its frame, or
	// only its pack. It may name what the rest does not.
	Extra map[Place]string
}

// NewQuarantine returns one to be filled.
func NewQuarantine() *Quarantine {
	return &Quarantine{Packs: make(map[pack.ID]bool), Places: make(map[Place]struct{}), Extra: make(map[Place]string)}
}

// Take adds what is in part, but for what is swept.
func (q *Quarantine) Take(part *Quarantine) {
	for id, all := range part.Packs {
		q.Packs[id] = q.Packs[id] || all
	}
	maps.Copy(q.Places, part.Places)
	q.Inherit(part)
}

// Inherit takes in the unknown fields of what was known before.
func (q *Quarantine) Inherit(known *Quarantine) {
	if q == nil || known == nil {
		return
	}
	for p, extra := range known.Extra {
		q.Extra[p], _ = record.Merge(q.Extra[p], extra) // both are objects
	}
}

// IsSwept reports whether the object d at l is dead, and perhaps gone, because of a sweep that has not come to its end.
func (q *Quarantine) IsSwept(d *store.Digest, l pack.Location) bool {
	return q != nil && q.Swept.Holds(d, l)
}

// With returns what is in q or in more.
func (q *Quarantine) With(more *Quarantine) *Quarantine {
	switch {
	case q == nil:
		return more
	case more == nil:
		return q
	}
	sum := NewQuarantine()
	sum.Swept = q.Swept.With(more.Swept)
	sum.Take(q)
	sum.Take(more)
	return sum
}

// WithoutSwept returns what of q is damage.
func (q *Quarantine) WithoutSwept() *Quarantine {
	if q == nil || q.Swept == nil {
		return q
	}
	rest := NewQuarantine()
	for id, all := range q.Packs {
		if all && !q.Swept.Packs[id] {
			rest.Packs[id] = true
		}
	}
	for p := range q.Places {
		if _, swept := q.Swept.Places[p]; !swept {
			if !rest.Packs[p.Pack] {
				rest.Packs[p.Pack] = false // it is known, and not damaged as a whole
			}
			rest.Places[p] = struct{}{}
		}
	}
	if len(rest.Packs) == 0 {
		return nil
	}
	rest.Inherit(q)
	return rest
}

// Place is where an index says an object is.
type Place struct {
	Pack   pack.ID
	Frame  int64 // offset of the head in the pack
	Offset uint32
	digest store.Digest // objects of no bytes may share the rest
}

// PlaceOf returns the place of the object d at l.
func PlaceOf(d *store.Digest, l pack.Location) Place {
	return Place{l.Frame.Pack, l.Frame.Offset, l.Offset, *d}
}

// Holds reports whether the object d at l is damaged.
func (q *Quarantine) Holds(d *store.Digest, l pack.Location) bool {
	if q == nil {
		return false
	}
	all, some := q.Packs[l.Frame.Pack]
	if all || !some {
		return all
	}
	_, ok := q.Places[PlaceOf(d, l)]
	return ok
}

// Touches reports whether x may have records of damaged objects. Such an index is not merged: a record that lookups pass
// over would displace one that they do not.
func (q *Quarantine) Touches(x *index.Index) bool {
	return q != nil && slices.ContainsFunc(x.Packs, func(p pack.Length) bool { _, ok := q.Packs[p.ID]; return ok })
}

// Find returns where the object d is damaged.
func (q *Quarantine) Find(indexes []*index.Index, k pack.Kind, d *store.Digest) (l pack.Location, ok bool) {
	if q == nil {
		return l, false
	}
	for _, x := range indexes {
		if l, ok := x.Find(k, d); ok && q.Holds(d, l) {
			return l, true
		}
	}
	return l, false
}

// MaxPlaces is how many damaged places of a file are told apart.
const MaxPlaces = 10

// ErrQuarantined is what is wrong with an object if a scrub found all its copies damaged.
var ErrQuarantined = errors.New("found damaged by an earlier verify")

// quarantineLine is the JSON of a line.
type quarantineLine struct {
	Pack  string            `json:"pack"`
	All   bool              `json:"all,omitempty"`
	Frame int64             `json:"frame,omitempty"`
	Items []json.RawMessage `json:"items,omitempty"` // each a quarantineItem
	Swept bool              `json:"swept,omitempty"`
}

type quarantineItem struct {
	Digest store.Digest `json:"digest"`
	Offset uint32       `json:"offset"`
}

// Encode returns the file of q.
func (q *Quarantine) Encode() (b []byte, err error) {
	type group struct { // what a line is of
		line  Place
		swept bool
	}
	groups := make(map[group]*quarantineLine)
	swept := cmp.Or(q.Swept, &Quarantine{})
	for id, all := range q.Packs {
		if all {
			groups[group{Place{Pack: id}, swept.Packs[id]}] = &quarantineLine{Pack: id.String(), All: true, Swept: swept.Packs[id]}
		}
	}
	for p := range q.Places {
		_, isSwept := swept.Places[p]
		key := group{Place{Pack: p.Pack, Frame: p.Frame}, isSwept}
		if groups[key] == nil {
			groups[key] = &quarantineLine{Pack: p.Pack.String(), Frame: p.Frame, Swept: isSwept}
		}
		item, err := record.Format(quarantineItem{p.digest, p.Offset}, q.Extra[p])
		if err != nil {
			return nil, err
		}
		groups[key].Items = append(groups[key].Items, item)
	}
	for key, line := range groups {
		sealed, err := record.OneLine.Encode(line, q.Extra[key.line])
		if err != nil {
			return nil, err
		}
		b = append(b, sealed...)
	}
	return b, nil
}

// Add takes a line in.
func (q *Quarantine) Add(sealed []byte) error {
	var line quarantineLine
	extra, err := record.OneLine.Decode(sealed, &line)
	if err != nil {
		return err
	}
	id, ok := pack.ParseName(line.Pack + pack.Ext)
	if !ok {
		return fmt.Errorf("invalid pack %q", line.Pack)
	}
	of := NewQuarantine()
	of.Packs[id] = line.All
	at := Place{Pack: id, Frame: line.Frame}
	if extra != "" {
		of.Extra[at] = extra
	}
	for _, raw := range line.Items {
		var it quarantineItem
		extra, err := record.Parse(raw, &it)
		if err != nil {
			return err
		}
		at.Offset, at.digest = it.Offset, it.Digest
		of.Places[at] = struct{}{}
		if extra != "" {
			of.Extra[at] = extra
		}
	}
	q.Take(of)
	if line.Swept {
		q.Swept = cmp.Or(q.Swept, NewQuarantine())
		q.Swept.Take(of)
	}
	return nil
}

// ReadQuarantine returns what the files say, their names, and what in them cannot be read: those lines do not count. One of a
// newer program is store.ErrNewer, and then the files must not be replaced. The error is that of the file system.
func ReadQuarantine(fsys durable.FS) (q *Quarantine, files []string, damage []error, err error) {
	entries, err := fsys.ReadDir(QuarantineDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	all := NewQuarantine()
	for _, e := range entries {
		name := QuarantineDir + "/" + e.Name()
		if strings.HasPrefix(e.Name(), ".") {
			continue // not ours
		}
		wrong, err := all.readFile(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another scrub has replaced it
		}
		if err != nil {
			damage = append(damage, err)
			continue
		}
		files = append(files, name)
		damage = append(damage, wrong...)
	}
	if len(all.Packs) == 0 {
		all = nil
	}
	return all, files, damage, nil
}

// readFile takes in the lines of a file, and returns what is wrong with the first of those that cannot be read, and with the
// first of a newer program.
func (q *Quarantine) readFile(fsys durable.FS, name string) (damage []error, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	lines, newer := bufio.NewReader(io.NewSectionReader(f, 0, size)), false
	line := make([]byte, 0, min(size, mostLine)) // once: growing takes three times as much
	for number := 1; ; number++ {
		var rerr error
		line, _, rerr = readLine(lines, line[:0], mostLine) // more than that does not match its checksum
		if rerr != nil && rerr != io.EOF {
			return nil, rerr
		}
		if len(line) > 0 {
			err := q.Add(line)
			isNewer := errors.Is(err, store.ErrNewer)
			if err != nil && (len(damage) < MaxPlaces || isNewer && !newer) {
				damage = append(damage, record.At(fmt.Sprintf("%s line %d", fsys.Path(name), number), err))
			}
			newer = newer || isNewer
		}
		if rerr == io.EOF {
			return damage, nil
		}
	}
}

// WriteQuarantine replaces files, which it has read, by one of q.
func WriteQuarantine(fsys durable.FS, q *Quarantine, files []string) error {
	if q != nil {
		b, err := q.Encode()
		if err != nil {
			return err
		}
		if err := durable.MkdirAll(fsys, QuarantineDir); err != nil {
			return err
		}
		if err := durable.WriteFile(fsys, pack.TempPath(durable.TempName()), QuarantineDir+"/"+durable.TempName(), b); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(files) == 0 {
		return nil
	}
	return fsys.SyncDir(QuarantineDir)
}
