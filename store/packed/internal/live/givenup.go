package live

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"castar/store"
	"castar/store/packed/internal/sealed"
	"castar/store/record"
)

// giveUp writes down tags that were deleted or forgotten, so that gc can say what it drops. Nothing else depends on it, so
// it is no error if there is no room.
func (t Tags) giveUp(tags ...store.Tag) {
	var lines bytes.Buffer
	for _, tag := range tags {
		if line, err := record.EncodeTag(record.OneLine, tag); err == nil {
			lines.WriteByte('\n')
			lines.Write(line)
		}
	}
	f, err := t.st.Fs.Append(sealed.GivenUp)
	if err != nil {
		return
	}
	if _, err := f.Write(lines.Bytes()); err == nil {
		_ = f.Sync()
	}
	_ = f.Close()
}

// GivenUp implements store.Sweeper.
func (t Tags) GivenUp(ctx context.Context) (tags []store.Tag) {
	for l, err := range t.lines(ctx, sealed.GivenUp) {
		if err == nil {
			tags = append(tags, l.Tag)
		}
	}
	return tags
}

// DropGivenUp removes what GivenUp returns.
func (t Tags) DropGivenUp() error {
	if err := t.st.Fs.Remove(sealed.GivenUp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
