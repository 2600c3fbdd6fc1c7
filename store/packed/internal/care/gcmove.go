package care

import (
	"context"
	"fmt"
	"sync"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// rewriter moves what is alive in some packs to new ones: frames as they are if all of their objects are alive, and
// what is left of others in new frames. Everything is checked on the way. Where things are now is kept in sorted runs
// in tmp/, so that memory does not grow with the number of objects.
type rewriter struct {
	sweep *sweep
	plan  *plan
	st    Store
	out   *pack.Writer
	new   *index.Builder

	mu      sync.Mutex
	open    [pack.Kinds]*pack.Group
	moved   int // objects of frames that are not damaged
	extra   int // objects that no frame of the plan has
	damaged map[pack.ID]bool
}

// close removes what is not part of the store, given the error of the round that ends. If there was no room, it also
// removes the new packs, which no index can name: open files would take their room for as long as the sweep lasts.
func (w *rewriter) close(failed error) error {
	if live.IsFull(failed) {
		w.out.Remove()
	} else {
		w.out.RemoveTemp() // they are there only after an error, which is the one to report
	}
	return w.new.Close()
}

// run moves all that the plan says, several frames at once.
func (w *rewriter) run(ctx context.Context) error {
	for _, o := range w.sweep.rescued {
		w.extra++
		err := w.st.Packs.Use(o.at, func(data []byte) error { return w.put(o.kind, o.digest, data) })
		if err != nil {
			return err
		}
	}
	if err := runParallel(ctx, cap(w.st.Slots), w.frames, w.move); err != nil {
		return err
	}
	for _, g := range w.open {
		if g == nil {
			continue
		}
		if err := w.write(g); err != nil {
			return err
		}
	}
	return nil
}

// frames yields the frames to be moved.
func (w *rewriter) frames(yield func(frameAt) bool) {
	for i, live := range w.plan.live {
		for n := range live {
			f, _ := w.plan.indexes[i].Frame(n)
			pk := w.plan.packs[f.Pack]
			if live[n] > 0 && pk != nil && pk.rewrite && !yield(frameAt{uint32(i), uint32(n)}) {
				return
			}
		}
	}
}

// move moves what is alive in a frame. Damage is no error: what is damaged stays where it is, and so does all of a streamed
// frame with any damage.
func (w *rewriter) move(at frameAt) error {
	f, _ := w.plan.indexes[at.index].Frame(int(at.n))
	loaded := w.st.Loaded.Get().(*pack.Loaded)
	defer w.st.Loaded.Put(loaded)
	alive := make([]bool, f.MaxItems())
	err := w.st.Packs.Check(f, loaded, func(n int, l pack.Location) bool {
		alive[n] = w.alive(at, &loaded.Head.Items[n].Digest, l)
		return alive[n]
	})
	if store.IsCorrupt(err) {
		w.damage(f, causeOf(err))
		return nil
	}
	if err != nil {
		return err
	}
	n, large, bad := w.judge(at, loaded, alive)
	if bad != nil {
		w.damage(f, bad)
		if f.Streamed() {
			return nil
		}
	} else {
		w.mu.Lock()
		w.moved += n
		w.mu.Unlock()
	}
	if large || loaded.Sound && n == len(loaded.Head.Items) {
		to, err := w.out.Copy(loaded)
		if err != nil {
			return w.sweep.fail(live.OrFull(err))
		}
		return w.add(to, &loaded.Head, alive)
	}
	return w.regroup(loaded, alive)
}

// judge takes those items of a frame that are not whole from alive, and returns how many are left, and whether one is too
// large to be moved alone. bad is why not all that is alive is whole: then the frame stays.
func (w *rewriter) judge(at frameAt, loaded *pack.Loaded, alive []bool) (count int, large bool, bad error) {
	known, weight, f := w.st.Quarantine.Load(), uint64(0), loaded.Frame
	for n, l := range loaded.Head.Locations(f) {
		if !alive[n] {
			continue
		}
		d := &loaded.Head.Items[n].Digest
		weight += uint64(l.Size) + pack.ItemLen
		large = large || l.Size > pack.MaxContents
		alive[n] = false
		if known.Holds(d, l) {
			bad = sealed.ErrQuarantined // at this place: of a list that is whole, chunks may not be
		} else if err := loaded.Wrong[n]; err != nil {
			bad = fmt.Errorf("%s: %w", d, err)
		} else {
			alive[n] = true
			count++
		}
	}
	switch {
	case bad != nil:
	case weight != w.plan.live[at.index][at.n]:
		bad = pack.ErrLacks
	case f.Streamed() && !loaded.Sound:
		bad = pack.ErrPayload
	}
	return count, large, bad
}

func (w *rewriter) damage(f pack.Frame, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep.report(f, err)
	w.damaged[f.Pack] = true
}

// alive reports whether the object d at l is what the index means, and to be kept.
func (w *rewriter) alive(in frameAt, d *store.Digest, l pack.Location) bool {
	x, k := w.plan.indexes[in.index], l.Frame.Kind // a list is in the table of data
	n, ok := x.Table(k).Search(d[:])
	if !ok {
		return false
	}
	v := x.Value(k, n)
	return v.Frame == in.n && v.Offset == l.Offset && v.Size == l.Size && w.plan.alive(index.At{Index: int(in.index), Kind: k, N: n})
}

// regroup puts items of a frame into others. Neighbours in a frame that is stored as it is stay together, and aligned.
func (w *rewriter) regroup(loaded *pack.Loaded, items []bool) error {
	if f := loaded.Frame; f.Codec == pack.Plain && f.Kind == pack.KindData && !f.Streamed() {
		if err := w.moveRuns(loaded, items); err != nil {
			return err
		}
	}
	for n, l := range loaded.Head.Locations(loaded.Frame) {
		if !items[n] {
			continue
		}
		put := func(data []byte) error { return w.put(l.Frame.Kind, loaded.Head.Items[n].Digest, data) }
		var err error
		if l.Frame.Streamed() {
			err = w.st.Packs.Use(l, put)
		} else {
			err = put(loaded.Bytes(l))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveRuns makes frames of items that lie one after the other in a frame, unless they are short. It takes them from items.
func (w *rewriter) moveRuns(loaded *pack.Loaded, items []bool) error {
	f, first, begin, end := loaded.Frame, 0, uint32(0), uint32(0) // of the run: its number, and its bytes in the payload
	for n, l := range loaded.Head.Locations(f) {
		if end = l.Offset + l.Size; !items[n] {
			first, begin = n+1, end
			continue
		}
		isLast := n+1 == len(loaded.Head.Items) || !items[n+1]
		if !isLast || end-begin < pack.PlainFrom {
			continue
		}
		clear(items[first : n+1])
		err := w.write(&pack.Group{
			Kind: f.Kind, Items: loaded.Head.Items[first : n+1], Raw: loaded.Payload()[begin:end],
			InBlob: loaded.Aligned(), At: uint64(f.Offset) + uint64(f.Start) + uint64(begin),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// put adds an object to a group, which it writes when it is full.
func (w *rewriter) put(k pack.Kind, d store.Digest, data []byte) error {
	w.mu.Lock()
	g := w.open[k]
	if g == nil {
		g = w.st.Packs.NewGroup(k)
		w.open[k] = g
	}
	_, full := w.st.Packs.Add(g, d, data)
	if full {
		w.open[k] = nil
	}
	w.mu.Unlock()
	if !full {
		return nil
	}
	return w.write(g)
}

// write compresses a group into a new frame.
func (w *rewriter) write(g *pack.Group) error {
	f, err := w.out.Append(g)
	if err != nil {
		return w.sweep.fail(live.OrFull(err))
	}
	h := pack.FrameHead{Kind: g.Kind, Items: g.Items}
	err = w.add(f, &h, nil)
	w.st.Packs.Drop(g)
	return err
}

// add records where those items of a new frame are that keep names, or all if it is nil.
func (w *rewriter) add(f pack.Frame, h *pack.FrameHead, keep []bool) error {
	objects, err := w.new.Add(f, h, keep)
	if err != nil {
		return w.sweep.fail(live.OrFull(err))
	}
	w.mu.Lock()
	w.sweep.result.Rewritten += uint64(f.Length())
	w.mu.Unlock()
	if p := w.sweep.o.Progress; p != nil {
		p.Objects.Add(uint64(objects))
		p.Bytes.Add(uint64(f.Length()))
	}
	return nil
}
