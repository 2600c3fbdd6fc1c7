package pack

import (
	"castar/store"
)

// LargeFrame is what CheckLarge finds out about a frame that is too large to be decoded as a whole.
type LargeFrame struct {
	Head  Head
	Good  []bool // of each item that was asked for: it is whole
	Sound bool   // the payload is what was written; if not, no chunk list is whole
	Err   error  // why what follows the last good item is not known, or nil
}

// CheckLarge reads a frame from end to end as a stream, and checks the items that wanted names, in order. Damage to the
// head is an error, a *store.CorruptError.
func (p *Files) CheckLarge(f Frame, wanted func(d *store.Digest, l Location) bool) (r LargeFrame, err error) {
	if r.Head, _, err = p.LoadHead(f); err != nil {
		return r, err
	}
	s, err := p.stream(f)
	if err != nil {
		return r, err
	}
	defer s.Close()
	r.Good = make([]bool, len(r.Head.Items))
	for i, l := range r.Head.Locations(f) {
		it := r.Head.Items[i]
		if !wanted(&it.Digest, l) {
			r.Err = s.skip(int64(it.Size))
		} else {
			r.Good[i], r.Err = s.check(it, f.Kind)
		}
		if r.Err != nil {
			break
		}
		if f.Kind == KindDirectory && r.Good[i] {
			r.Good[i] = p.Use(l, func(data []byte) error { return CheckDecoded(f.Kind, it.Digest, data) }) == nil
		}
	}
	if r.Err == nil {
		var sum uint32
		sum, r.Err = s.end()
		r.Sound = r.Err == nil && sum == r.Head.PayloadSum
	}
	if r.Err != nil && !store.IsCorrupt(r.Err) {
		return r, r.Err
	}
	if f.Kind == KindList && !r.Sound {
		clear(r.Good)
	}
	return r, nil
}

// check reads an item and reports whether it is whole, as Check does. It never holds all of it.
func (s *frameStream) check(it Item, k Kind) (good bool, err error) {
	var h store.Hasher
	good = k != KindList || CheckListSize(int64(it.Size)) == nil
	part := make([]byte, min(int64(it.Size), 16<<10*ItemLen))
	for left := int64(it.Size); left > 0; left -= int64(len(part)) {
		part = part[:min(left, int64(len(part)))]
		if err := s.fill(part); err != nil {
			return false, err
		}
		if k != KindList {
			h.Write(part)
			continue
		}
		for b := part; good && len(b) > 0; b = b[ItemLen:] {
			_, err := parseChunk(b)
			good = err == nil
		}
	}
	return good && (k == KindList || h.Sum() == it.Digest), nil
}
