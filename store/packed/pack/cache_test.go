package pack

import (
	"slices"
	"testing"

	"castar/store/durable/crashfs"
)

// TestFrameCache reads parts of frames, of which four are kept, and looks which are still there.
func TestFrameCache(t *testing.T) {
	const size = 1 << 20
	files := newFiles(t, crashfs.New())
	type read struct{ frame, bytes int }
	for name, tt := range map[string]struct {
		hold  []int // these are not released
		reads []read
		want  []int
	}{
		"the oldest goes":             {nil, []read{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}, []int{1, 2, 3, 4}},
		"the one read stays":          {nil, []read{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {0, 1}, {4, 1}}, []int{0, 2, 3, 4}},
		"one in use stays":            {[]int{0}, []read{{1, 1}, {2, 1}, {3, 1}, {4, 1}}, []int{0, 2, 3, 4}},
		"one read whole goes":         {nil, []read{{0, 1}, {1, 1}, {2, 1}, {3, size}, {4, 1}}, []int{0, 1, 2, 4}},
		"also in parts":               {nil, []read{{0, 1}, {1, size - 1}, {2, 1}, {1, 1}, {3, 1}, {4, 1}}, []int{0, 2, 3, 4}},
		"one read whole goes at once": {nil, []read{{0, 1}, {1, size}}, []int{0}},
		"then stays, if read again":   {nil, []read{{1, size}, {1, size}, {1, size}}, []int{1}},
		"one read again stays":        {nil, []read{{0, 1}, {1, size}, {2, 1}, {1, 1}, {3, 1}, {4, 1}}, []int{1, 2, 3, 4}},
		"whole but in use":            {[]int{0}, []read{{0, size}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}, []int{0, 2, 3, 4}},
		"one too large goes":          {nil, []read{{9, 1}, {9, 1}, {0, 1}}, []int{0}},
		"all are in use, stays":       {[]int{0, 1, 2, 3, 4}, nil, []int{0, 1, 2, 3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFrameCache()
			c.most = 4 * size
			ref := func(i int) Frame {
				f := Frame{Offset: int64(i), Raw: size}
				if i == 9 { // larger than the cache
					f.Raw = 4*size + 1
				}
				return f
			}
			for _, i := range tt.hold {
				c.hold(files, ref(i), 1)
			}
			for _, r := range tt.reads {
				c.hold(files, ref(r.frame), r.bytes).release()
			}
			var got []int
			bytes := 0
			for key, held := range c.frames {
				got = append(got, int(key.Offset))
				bytes += held.size
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("has %v, want %v", got, tt.want)
			}
			if bytes != c.bytes || c.recent.Len() != len(got) {
				t.Errorf("says it has %d bytes in %d frames, has %d in %d", c.bytes, c.recent.Len(), bytes, len(got))
			}
		})
	}
}
