package pack

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"castar/store"
	"castar/store/durable"
)

// Group is the objects of one frame, while it is filled and written. It is for one goroutine at a time.
type Group struct {
	Kind    Kind
	Items   []Item
	Raw     []byte // their bytes, in order
	Encoded []byte // what Raw is compressed to, as one zstd frame, or nil if that is still to be done
	InBlob  bool   // the objects follow each other in a blob, in which the first begins at At
	At      uint64
	pooled  bool // Raw is a buffer of the Coders
}

// NewGroup returns an empty group that Add fills.
func (c *Coders) NewGroup(k Kind) *Group {
	return &Group{Kind: k, Raw: c.groups.get(smallBuffer), pooled: true}
}

// Add copies an object into a group that NewGroup returned, and returns its offset. full says that the group should be
// written now.
func (c *Coders) Add(g *Group, d store.Digest, data []byte) (offset uint32, full bool) {
	offset = uint32(len(g.Raw))
	g.Items = append(g.Items, Item{d, uint32(len(data))})
	g.Raw = c.extend(g.Raw, data)
	return offset, len(g.Raw) >= GroupLimit(g.Kind)
}

// Merge moves the objects of a group behind those of another of its kind. Their offsets grow by the length that into had.
func (c *Coders) Merge(into, g *Group) {
	into.Items = append(into.Items, g.Items...)
	into.Raw = c.extend(into.Raw, g.Raw)
	c.Drop(g)
}

// Drop forgets what a group holds, and gives its memory back if NewGroup made the group.
func (c *Coders) Drop(g *Group) {
	if g.pooled {
		c.release(g.Raw)
	}
	g.Items, g.Raw, g.Encoded = nil, nil, nil
}

// Pooled reports whether NewGroup made the group, so that its bytes are not the caller's.
func (g *Group) Pooled() bool { return g.pooled }

// Writer appends frames to packs in TempDir: one pack of each role, and another whenever one is full. They become part of
// the store when Publish gives them their names, and an index that names them follows. Its methods may be called
// concurrently, but Lengths, Publish and Remove only once no others run.
type Writer struct {
	files *Files
	full  func(before int64) int64

	mu    sync.Mutex
	packs [Roles]*newPack
	all   []*newPack
	done  int64 // bytes of the packs that are full
}

// newPack is a pack that is being written.
type newPack struct {
	id     ID
	file   durable.File
	shares bool  // its blocks can be shared
	size   int64 // under the mutex of the writer
	busy   int   // frames that have a place and are not written yet; under the same mutex
	// turn is held while a frame is written. The system lets one goroutine write to a file at a time, and others would spin.
	turn chan struct{}
}

// NewWriter returns a Writer that begins another pack once the last has as many bytes as full returns. full gets the bytes
// of all packs before that one.
func (p *Files) NewWriter(full func(before int64) int64) *Writer {
	return &Writer{files: p, full: full}
}

// create begins a pack in TempDir and lets readers find it.
func (w *Writer) create(r Role) (*newPack, error) {
	p := w.files
	var id ID
	if _, err := io.ReadFull(p.Random, id[:]); err != nil {
		return nil, err
	}
	f, err := p.fs.Create(TempPath(id.String()))
	if err != nil {
		return nil, err
	}
	sharer, ok := f.(durable.Sharer)
	shares := ok && r == RoleData && sharer.Shares()
	head := AppendPackHead(nil, r)
	if _, err := f.WriteAt(head, 0); err != nil {
		f.Close()
		p.fs.Remove(TempPath(id.String()))
		return nil, err
	}
	p.open.pin(id, f)
	pack := &newPack{id: id, file: f, shares: shares, size: int64(len(head)), turn: make(chan struct{}, 1)}
	w.all = append(w.all, pack)
	return pack, nil
}

// alignFrom is the length of a payload from which it is aligned, in bytes. Padding is at most 1/32 of it, and of a large blob
// 1/512: its chunks share frames.
const alignFrom = 128 << 10

// pad lengthens the padding of a frame that begins at an offset, so that the payload begins as many bytes after a block as at
// does. A clone of the payload can then begin at at in another file.
func (h *FrameHead) pad(offset int64, at uint64) {
	begins := uint64(offset) + uint64(h.Start)
	h.Start += uint32((at - begins) % MaxPadding)
}

// reserve returns where a frame goes, and pads its head if a file that is to have its payload at at can share blocks with it.
// at may be nil. The caller must call wrote when the frame is there.
func (w *Writer) reserve(h *FrameHead, at *uint64) (pack *newPack, offset int64, err error) {
	w.mu.Lock()
	r := h.Kind.Role()
	pack = w.packs[r]
	var full *newPack
	if pack == nil || pack.size >= w.full(w.done) {
		if full = pack; full != nil {
			w.done += full.size
		}
		pack, err = w.create(r)
		w.packs[r] = pack
	}
	if err == nil {
		offset = pack.size
		if at != nil && pack.shares && h.Codec == Plain && h.Stored >= alignFrom {
			h.pad(offset, *at)
		}
		pack.size += int64(h.Start) + int64(h.Stored)
		pack.busy++
	}
	send := full != nil && full.busy == 0
	w.mu.Unlock()
	if send {
		w.send(full)
	}
	return pack, offset, err
}

// wrote says that a frame is in its place, or that it will never be.
func (w *Writer) wrote(r Role, pack *newPack) {
	w.mu.Lock()
	pack.busy--
	send := pack.busy == 0 && w.packs[r] != pack
	w.mu.Unlock()
	if send {
		w.send(pack)
	}
}

// send begins to move a pack to which nothing will be added to a store that is far away.
func (w *Writer) send(pack *newPack) {
	if far, ok := w.files.fs.(durable.Far); ok {
		far.Send(TempPath(pack.id.String()), pack.id.Path())
	}
}

// Append compresses a group, unless that gains too little, and writes it as a new frame.
func (w *Writer) Append(g *Group) (f Frame, err error) {
	if uint64(len(g.Raw)) > math.MaxUint32 {
		return f, fmt.Errorf("object of %d bytes is too large for a frame", len(g.Raw))
	}
	c, head := w.files.Coders, FrameHeadLen+len(g.Items)*ItemLen
	room := head
	if g.Encoded == nil {
		room += len(g.Raw) + len(g.Raw)/128 + 1<<10 // more than zstd ever makes of it
	}
	buf := c.buffer(room)
	defer func() { c.release(buf) }()
	buf = append(buf, make([]byte, head)...)
	h := FrameHead{Kind: g.Kind, Raw: uint32(len(g.Raw)), Items: g.Items}
	buf, payload, codec, err := c.encode(buf, g)
	if err != nil {
		return f, err
	}
	h.Codec, h.Start, h.Stored, h.PayloadSum = codec, uint32(head), uint32(len(payload)), Checksum(payload)
	var at *uint64
	if g.InBlob {
		at = &g.At
	}
	pack, offset, err := w.reserve(&h, at)
	if err != nil {
		return f, err
	}
	defer w.wrote(h.Kind.Role(), pack)
	apart := len(buf) == head // the payload is elsewhere: it is raw, or was compressed before
	front := AppendFrameHead(buf[:0], &h)
	if !apart {
		front = buf // with the payload, and so without padding
	}
	pack.turn <- struct{}{}
	defer func() { <-pack.turn }()
	_, err = pack.file.WriteAt(front, offset)
	if err == nil && apart {
		_, err = pack.file.WriteAt(payload, offset+int64(h.Start))
	}
	return h.At(pack.id, offset), err
}

// Copy writes a sound frame as it is stored. A payload that was aligned stays so where that is of use; otherwise there is no
// padding. Copy never holds all of a streamed frame.
func (w *Writer) Copy(l *Loaded) (f Frame, err error) {
	h := l.Head
	h.Start = uint32(FrameHeadLen + len(h.Items)*ItemLen)
	var at *uint64
	if l.Aligned() {
		at = new(uint64(l.Frame.Offset) + uint64(l.Frame.Start))
	}
	to, offset, err := w.reserve(&h, at)
	if err != nil {
		return f, err
	}
	defer w.wrote(h.Kind.Role(), to)
	f, head := h.At(to.id, offset), AppendFrameHead(nil, &h)
	if !f.Streamed() {
		_, err = to.file.WriteAt(append(head, l.Payload()...), offset)
		return f, err
	}
	if _, err := to.file.WriteAt(head, offset); err != nil {
		return f, err
	}
	from, err := w.files.acquire(l.Frame)
	if err != nil {
		return f, err
	}
	defer w.files.open.release(from)
	src := newPayloadReader(from, l.Frame)
	if _, err := io.CopyBuffer(io.NewOffsetWriter(to.file, offset+int64(h.Start)), src, make([]byte, 1<<20)); err != nil {
		return f, err
	}
	if src.sum != h.PayloadSum {
		err = errors.New("frame changed while it was copied")
	}
	return f, err
}

// Lengths returns the packs that were written.
func (w *Writer) Lengths() (all []Length) {
	for _, pack := range w.all {
		all = append(all, Length{pack.id, pack.size})
	}
	return all
}

// Publish syncs the packs, gives them their names, and syncs Dir. Each step follows the success of the last.
func (w *Writer) Publish() error {
	p := w.files
	for _, pack := range w.all {
		if err := pack.file.Sync(); err != nil {
			return err
		}
	}
	for _, pack := range w.all {
		if err := p.fs.Rename(TempPath(pack.id.String()), pack.id.Path()); err != nil {
			return err
		}
	}
	if err := p.fs.SyncDir(Dir); err != nil {
		return err
	}
	for _, pack := range w.all {
		p.open.unpin(pack.id)
	}
	return nil
}

// RemoveTemp removes the packs that were not published. What cannot be removed is left to the next process that opens the
// store alone.
func (w *Writer) RemoveTemp() {
	for _, pack := range w.all {
		w.files.fs.Remove(TempPath(pack.id.String()))
	}
}

// Remove removes all packs, published or not, which no index may name. It closes them, so that their room is free.
func (w *Writer) Remove() {
	w.RemoveTemp()
	for _, pack := range w.all {
		w.files.Forget(pack.id)
		w.files.fs.Remove(pack.id.Path())
	}
}
