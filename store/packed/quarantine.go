package packed

import (
	"bufio"
	"bytes"
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

// The quarantine is where damaged objects are: places that lookups pass over, so that the store does not have what it
// could not give back. It is in the files of quarantine/, of which each scrub writes a new one, of all there is to say,
// and removes those that it had read. Of two files that say different things, both count. A file is sealed lines:
//
//	line = {"pack":"<16 hexadecimal digits>","all":true}                            all of a pack
//	     | {"pack":…,"frame":<offset>,"items":[{"digest":…,"offset":<in the payload>}…]}   some objects of a frame
//
// With "swept":true the objects are not damaged but dead: a sweep that had no room for an index without them removes them.
const quarantineDir = "quarantine"

// quarantine is the places of damaged objects. It is immutable; nil is the empty one.
type quarantine struct {
	packs  map[pack.ID]bool // those that have something in it; true: all of the pack
	places map[place]struct{}
	// What of it is no damage: a sweep was removing it. Nil: nothing.
	swept *quarantine
	// The fields of lines and items that this program does not know. The place of a line has its pack and its frame, or
	// only its pack. It may name what the rest does not.
	extra map[place]string
}

// newQuarantine returns one to be filled.
func newQuarantine() *quarantine {
	return &quarantine{packs: make(map[pack.ID]bool), places: make(map[place]struct{}), extra: make(map[place]string)}
}

// take adds what is in part, but for what is swept.
func (q *quarantine) take(part *quarantine) {
	for id, all := range part.packs {
		q.packs[id] = q.packs[id] || all
	}
	maps.Copy(q.places, part.places)
	q.inherit(part)
}

// inherit takes in the unknown fields of what was known before.
func (q *quarantine) inherit(known *quarantine) {
	if q == nil || known == nil {
		return
	}
	for p, extra := range known.extra {
		q.extra[p], _ = record.Merge(q.extra[p], extra) // both are objects
	}
}

// isSwept reports whether the object d at l is dead, and perhaps gone, because of a sweep that has not come to its end.
func (q *quarantine) isSwept(d *store.Digest, l pack.Location) bool {
	return q != nil && q.swept.holds(d, l)
}

// with returns what is in q or in more.
func (q *quarantine) with(more *quarantine) *quarantine {
	switch {
	case q == nil:
		return more
	case more == nil:
		return q
	}
	sum := newQuarantine()
	sum.swept = q.swept.with(more.swept)
	sum.take(q)
	sum.take(more)
	return sum
}

// withoutSwept returns what of q is damage.
func (q *quarantine) withoutSwept() *quarantine {
	if q == nil || q.swept == nil {
		return q
	}
	rest := newQuarantine()
	for id, all := range q.packs {
		if all && !q.swept.packs[id] {
			rest.packs[id] = true
		}
	}
	for p := range q.places {
		if _, swept := q.swept.places[p]; !swept {
			if !rest.packs[p.pack] {
				rest.packs[p.pack] = false // it is known, and not damaged as a whole
			}
			rest.places[p] = struct{}{}
		}
	}
	if len(rest.packs) == 0 {
		return nil
	}
	rest.inherit(q)
	return rest
}

// place is where an index says an object is.
type place struct {
	pack   pack.ID
	frame  int64 // offset of the head in the pack
	offset uint32
	digest store.Digest // objects of no bytes may share the rest
}

func placeOf(d *store.Digest, l pack.Location) place {
	return place{l.Frame.Pack, l.Frame.Offset, l.Offset, *d}
}

// holds reports whether the object d at l is damaged.
func (q *quarantine) holds(d *store.Digest, l pack.Location) bool {
	if q == nil {
		return false
	}
	all, some := q.packs[l.Frame.Pack]
	if all || !some {
		return all
	}
	_, ok := q.places[placeOf(d, l)]
	return ok
}

// touches reports whether x may have records of damaged objects. Such an index is not merged: a record that lookups pass
// over would displace one that they do not.
func (q *quarantine) touches(x *index.Index) bool {
	return q != nil && slices.ContainsFunc(x.Packs, func(p pack.Length) bool { _, ok := q.packs[p.ID]; return ok })
}

// find returns where the object d is damaged.
func (q *quarantine) find(indexes []*index.Index, k pack.Kind, d *store.Digest) (l pack.Location, ok bool) {
	if q == nil {
		return l, false
	}
	for _, x := range indexes {
		if l, ok := x.Find(k, d); ok && q.holds(d, l) {
			return l, true
		}
	}
	return l, false
}

// maxPlaces is how many damaged places of a file are told apart.
const maxPlaces = 10

// errQuarantined is what is wrong with an object of which a scrub has found nothing but damage.
var errQuarantined = errors.New("found damaged by an earlier verify")

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

// encode returns the file of q.
func (q *quarantine) encode() (b []byte, err error) {
	type group struct { // what a line is of
		line  place
		swept bool
	}
	groups := make(map[group]*quarantineLine)
	swept := cmp.Or(q.swept, &quarantine{})
	for id, all := range q.packs {
		if all {
			groups[group{place{pack: id}, swept.packs[id]}] = &quarantineLine{Pack: id.String(), All: true, Swept: swept.packs[id]}
		}
	}
	for p := range q.places {
		_, isSwept := swept.places[p]
		key := group{place{pack: p.pack, frame: p.frame}, isSwept}
		if groups[key] == nil {
			groups[key] = &quarantineLine{Pack: p.pack.String(), Frame: p.frame, Swept: isSwept}
		}
		item, err := record.Format(quarantineItem{p.digest, p.offset}, q.extra[p])
		if err != nil {
			return nil, err
		}
		groups[key].Items = append(groups[key].Items, item)
	}
	for key, line := range groups {
		sealed, err := record.OneLine.Encode(line, q.extra[key.line])
		if err != nil {
			return nil, err
		}
		b = append(b, sealed...)
	}
	return b, nil
}

// add takes a line in.
func (q *quarantine) add(sealed []byte) error {
	var line quarantineLine
	extra, err := record.OneLine.Decode(sealed, &line)
	if err != nil {
		return err
	}
	id, ok := pack.ParseName(line.Pack + pack.Ext)
	if !ok {
		return fmt.Errorf("invalid pack %q", line.Pack)
	}
	of := newQuarantine()
	of.packs[id] = line.All
	at := place{pack: id, frame: line.Frame}
	if extra != "" {
		of.extra[at] = extra
	}
	for _, raw := range line.Items {
		var it quarantineItem
		extra, err := record.Parse(raw, &it)
		if err != nil {
			return err
		}
		at.offset, at.digest = it.Offset, it.Digest
		of.places[at] = struct{}{}
		if extra != "" {
			of.extra[at] = extra
		}
	}
	q.take(of)
	if line.Swept {
		q.swept = cmp.Or(q.swept, newQuarantine())
		q.swept.take(of)
	}
	return nil
}

// readQuarantine returns what the files say, their names, and what in them cannot be read: those lines do not count. One of a
// newer program is store.ErrNewer, and then the files must not be replaced. The error is that of the file system.
func readQuarantine(fsys durable.FS) (q *quarantine, files []string, damage []error, err error) {
	entries, err := fsys.ReadDir(quarantineDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	all := newQuarantine()
	for _, e := range entries {
		name := quarantineDir + "/" + e.Name()
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
	if len(all.packs) == 0 {
		all = nil
	}
	return all, files, damage, nil
}

// readFile takes in the lines of a file, and returns what is wrong with the first of those that cannot be read, and with the
// first of a newer program.
func (q *quarantine) readFile(fsys durable.FS, name string) (damage []error, err error) {
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
	var line bytes.Buffer
	line.Grow(int(min(size, mostLine))) // once: growing takes three times as much
	for number := 1; ; number++ {
		line.Reset()
		rerr := readLine(lines, &line)
		if rerr != nil && rerr != io.EOF {
			return nil, rerr
		}
		if line.Len() > 0 {
			err := q.add(line.Bytes())
			isNewer := errors.Is(err, store.ErrNewer)
			if err != nil && (len(damage) < maxPlaces || isNewer && !newer) {
				damage = append(damage, record.At(fmt.Sprintf("%s line %d", fsys.Path(name), number), err))
			}
			newer = newer || isNewer
		}
		if rerr == io.EOF {
			return damage, nil
		}
	}
}

// writeQuarantine replaces files, which it has read, by one of q.
func writeQuarantine(fsys durable.FS, q *quarantine, files []string) error {
	if q != nil {
		b, err := q.encode()
		if err != nil {
			return err
		}
		if err := durable.MkdirAll(fsys, quarantineDir); err != nil {
			return err
		}
		if err := durable.WriteFile(fsys, pack.TempPath(durable.TempName()), quarantineDir+"/"+durable.TempName(), b); err != nil {
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
	return fsys.SyncDir(quarantineDir)
}
