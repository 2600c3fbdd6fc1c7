package ignore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// State returns the part of the path of a directory that decides how s judges everything below it. If two stacks of the
// same patterns have equal states, they judge alike there. "" means that only names matter. s is the Stack of the
// directory or of its parent, and dir its path. State does not call dir if s has no pattern that is matched against
// paths.
//
// It is the places at which each of the patterns may go on. So it takes few values, however many paths there are.
func (s Stack) State(dir func() string) string {
	path := ""
	var state []byte
	for _, f := range [2]*frame{s.command, s.dirs} {
		for ; f != nil && !f.names; f = f.under {
			if path == "" {
				if path = dir(); path != "" {
					path += "/"
				}
			}
			below := path[min(f.base, len(path)):]
			if f.fold {
				below = strings.ToLower(below)
			}
			for i := range f.list {
				if n := &f.list[i]; n.wholePath {
					state = n.appendPlaces(state, uint64(i), below)
				}
			}
			state = append(state, 0) // no byte of a number is 0
		}
	}
	if strings.Trim(string(state), "\x00") == "" {
		return ""
	}
	return string(state)
}

// Key returns what decides what s says of all that is below a directory: there, stacks with the same patterns of the
// command line and the same key say the same. s and dir are as for State.
func (s Stack) Key(dir func() string) string {
	var sums []byte
	for f := s.dirs; f != nil; f = f.under {
		sums = append(sums, f.sum[:]...)
	}
	return fmt.Sprint(len(sums), ":", string(sums), s.State(dir))
}

// appendPlaces appends a number and the places in g from which it may go on after dir, if there are any. dir is "" or ends
// in a slash.
func (g *glob) appendPlaces(state []byte, number uint64, dir string) []byte {
	if n := min(len(dir), len(g.prefix)); dir[:n] != g.prefix[:n] {
		return state
	}
	places := []int{len(dir)}
	if len(dir) > len(g.prefix) {
		places = g.places(dir[len(g.prefix):])
	} else if len(dir) == len(g.prefix)+len(g.middle)+len(g.suffix) {
		return state // all of it is used up
	}
	if len(places) == 0 {
		return state
	}
	state = binary.AppendUvarint(state, number+1)
	for _, p := range places {
		state = binary.AppendUvarint(state, uint64(p)+1)
	}
	return append(state, 0)
}

// places returns the places in g, beginning with its prefix, from which it may go on after the prefix and text, which ends
// in a slash.
func (g *glob) places(text string) (places []int) {
	all := slices.Clone(g.middle)
	for i := range len(g.suffix) {
		all = append(all, element{kind: literal, char: g.suffix[i]})
	}
	at, next := make([]bool, len(all)+1), make([]bool, len(all)+1)
	inside, nextInside := make([]bool, len(all)+1), make([]bool, len(all)+1) // in dirs, and not after a slash
	at[0] = true
	for i := range len(text) {
		clear(next)
		clear(nextInside)
		c := text[i]
		for p, e := range all {
			switch e.kind {
			case star, deep, dirs:
				at[p+1] = at[p+1] || at[p] // it may match nothing
			}
			switch {
			case e.kind == dirs && (at[p] || inside[p]):
				next[p] = next[p] || c == '/'
				nextInside[p] = c != '/'
			case at[p] && (e.kind == deep || e.kind == star && c != '/'):
				next[p] = true
			case at[p] && e.matches(c):
				next[p+1] = true
			}
		}
		at, next, inside, nextInside = next, at, nextInside, inside
	}
	for p := range all {
		if at[p] {
			places = append(places, len(g.prefix)+p)
		}
	}
	return places
}
