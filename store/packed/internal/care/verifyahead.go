package care

// ahead makes a bucket send frames before they are read. The frames of the next pack are then on their way while those of the
// one before are read.
type ahead struct {
	s           *scrubber
	frames      []frameAt // in the order of reading
	next        int       // the first that was not asked for
	asked, read int64     // bytes
}

// reading says that frame i is read now. It is called for each frame once, in order.
func (a *ahead) reading(i int) {
	const most, atOnce = 16 << 20, 4 << 20 // bytes
	if a.s.st.Cloud == nil || a.s.o.Structure {
		return
	}
	for a.next < len(a.frames) && a.asked-a.read < most {
		first := a.s.frame(a.frames[a.next])
		end := first.End()
		for a.next++; a.next < len(a.frames) && end-first.Offset < atOnce; a.next++ {
			f := a.s.frame(a.frames[a.next])
			if f.Pack != first.Pack || f.Offset != end {
				break
			}
			end = f.End()
		}
		a.s.st.Cloud.Want(first.Pack.Path(), first.Offset, end)
		a.asked += end - first.Offset
	}
	a.read += a.s.frame(a.frames[i]).Length()
}

// early asks for the first frames that will be read, if these are known before the store's files are looked at.
func (s *scrubber) early() {
	if s.st.Cloud == nil || s.o.Structure || s.o.Parts > 0 || s.o.MaxDuration > 0 {
		return
	}
	if all, meta := s.frames(); meta < len(all) {
		a := ahead{s: s, frames: all[meta:]}
		a.reading(0)
	}
}
