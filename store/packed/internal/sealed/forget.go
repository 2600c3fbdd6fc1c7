package sealed

import (
	"bufio"
	"context"
	"errors"
	"io"

	"castar/store"
	"castar/store/record"
)

// Extent is a part of a file.
type Extent struct{ From, To int64 }

// Forgotten returns where in a log the lines are that isGone reports, and the empty ones, in order. found says that there
// are some of the former.
func Forgotten(ctx context.Context, log io.Reader, isGone func(store.Tag) bool) (gone []Extent, found bool, err error) {
	lines := &LogReader{Lines: bufio.NewReader(log)}
	for from := int64(0); ; from = lines.read {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		text, err := lines.line()
		if errors.Is(err, errLong) {
			continue
		}
		if err == io.EOF {
			return gone, found, nil
		}
		if err != nil {
			return nil, false, err
		}
		empty := string(text) == "\n"
		tag, err := record.DecodeTag(record.OneLine, text)
		switch last := len(gone) - 1; {
		case !empty && (err != nil || !isGone(tag)):
			continue
		case last >= 0 && gone[last].To == from:
			gone[last].To = lines.read
		default:
			gone = append(gone, Extent{from, lines.read})
		}
		found = found || !empty
	}
}
