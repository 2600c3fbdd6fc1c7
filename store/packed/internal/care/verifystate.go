package care

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// stateName is the file in which a scrub that reads only a part of the store leaves word for the next one. It holds one
// sealed line, the JSON of scrubState.
const stateName = "verify"

type scrubState struct {
	Turn int `json:"turn"` // how many scrubs have read a part of the frames
	// Where the last scrub that was short of time stopped: before that frame, or before the blobs of the chunk lists in
	// that frame. No pack: it came to the end.
	Pack   string `json:"pack,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Lists  bool   `json:"lists,omitempty"`

	pack  pack.ID
	extra string // the other fields
}

// reached reports whether f does not come before the place where the last scrub stopped.
func (s *scrubState) reached(f pack.Frame) bool {
	return s.Pack == "" || compareFrames(f, pack.Frame{Kind: f.Kind, Pack: s.pack, Offset: s.Offset}) >= 0
}

// String is the place for a person.
func (s *scrubState) String() string {
	if s.Pack == "" {
		return ""
	}
	where := fmt.Sprintf("%s offset %d", s.pack.Path(), s.Offset)
	if s.Lists {
		return "the blobs listed in " + where
	}
	return where
}

// readState finds out which part is to be read, and where to go on. A state that cannot be read is as good as none.
func (s *scrubber) readState(found func(store.Damage)) {
	b, err := sealed.ReadSmall(s.st.Fs, stateName)
	if err == nil {
		err = s.state.parse(b)
	}
	switch {
	case errors.Is(err, store.ErrNewer):
		s.state = scrubState{}
		s.held = s.newer(record.At(s.st.Fs.Path(stateName), err))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		s.state = scrubState{}
		d := s.st.fileDamage(store.DamageState, stateName, err)
		d.Harmless = true
		found(d)
	}
	if s.o.MaxDuration > 0 {
		s.deadline = time.Now().Add(s.o.MaxDuration)
		s.from, s.state = s.state, scrubState{Turn: s.state.Turn, extra: s.state.extra}
		s.result.Resumed = s.from.String()
	}
	if s.o.Parts > 1 {
		turn := s.state.Turn
		if s.o.NoRecord {
			turn = rand.IntN(s.o.Parts) // nobody will remember which it was
		}
		s.result.Part = turn%s.o.Parts + 1
	}
}

func (s *scrubState) parse(line []byte) (err error) {
	if s.extra, err = record.OneLine.Decode(line, s); err != nil {
		return err
	}
	var ok bool
	if s.pack, ok = pack.ParseName(s.Pack + pack.Ext); !ok && s.Pack != "" {
		return fmt.Errorf("invalid pack %q", s.Pack)
	}
	if s.Turn < 0 {
		return fmt.Errorf("invalid turn %d", s.Turn)
	}
	return nil
}

// writeState leaves word for the next scrub.
func (s *scrubber) writeState() {
	if s.o.MaxDuration == 0 && s.o.Parts <= 1 || s.o.NoRecord {
		return
	}
	if s.held != nil {
		s.result.NotRecorded = s.held
		return
	}
	if s.o.Parts > 1 {
		s.state.Turn++
	}
	b, err := record.OneLine.Encode(s.state, s.state.extra)
	if err == nil {
		err = durable.WriteFile(s.st.Fs, pack.TempPath(durable.TempName()), stateName, b)
	}
	s.result.NotRecorded = errors.Join(s.result.NotRecorded, err)
}

// stopAt remembers where there was no more time.
func (s *scrubber) stopAt(f pack.Frame, lists bool) {
	s.state.Pack, s.state.pack, s.state.Offset, s.state.Lists = f.Pack.String(), f.Pack, f.Offset, lists
	s.result.Stopped = s.state.String()
}

// inPart reports whether what has that name is in the part that is to be read.
func (s *scrubber) inPart(name []byte, number uint64) bool {
	if s.o.Parts <= 1 {
		return true
	}
	sum := store.Sum(binary.LittleEndian.AppendUint64(slices.Clone(name), number))
	return binary.LittleEndian.Uint64(sum[:])%uint64(s.o.Parts) == uint64(s.result.Part-1)
}
