package live

import (
	"bufio"
	"context"
	"errors"
	"io"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Forget rewrites the log without the lines to forget and without empty ones, and renames it over the old one. All
// other bytes stay, also lines that cannot be read. On disk the store must be open exclusively: a line that another
// process appended would be lost. In a bucket the rename then fails, and Forget begins again.
func (t Tags) Forget(ctx context.Context, ingests []store.Tag) error {
	if err := t.st.Writable(); err != nil {
		return err
	}
	if !t.st.Exclusive && t.st.Bucket == nil {
		return store.ErrNotAlone
	}
	t.st.logging.Lock()
	defer t.st.logging.Unlock()
	for {
		if err := t.forget(ctx, ingests); !errors.Is(err, bucket.ErrChanged) {
			return err
		}
	}
}

func (t Tags) forget(ctx context.Context, ingests []store.Tag) error {
	old, err := t.st.Fs.Open(sealed.LogName)
	if t.missing(sealed.LogName, err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	size, err := old.Size()
	if err != nil {
		return err
	}
	gone, found, err := sealed.Forgotten(ctx, io.NewSectionReader(old, 0, size), store.AmongTags(ingests))
	if err != nil || !found {
		return err
	}
	temp := pack.TempPath(durable.TempName())
	err = durable.NewFileFunc(t.st.Fs, temp, true, func(w io.Writer) error { return copyWithout(w, old, size, gone) })
	if err != nil {
		return err
	}
	if err := t.st.Fs.Rename(temp, sealed.LogName); err != nil {
		return errors.Join(err, t.st.Fs.Remove(temp))
	}
	t.giveUp(ingests...)
	return t.st.Fs.SyncDir(".")
}

// copyWithout copies what a file of some length has outside the parts that are gone.
func copyWithout(w io.Writer, old io.ReaderAt, size int64, gone []sealed.Range) error {
	out, from := bufio.NewWriterSize(w, 64<<10), int64(0)
	for _, g := range append(gone, sealed.Range{From: size, To: size}) {
		if _, err := io.Copy(out, io.NewSectionReader(old, from, g.From-from)); err != nil {
			return err
		}
		from = g.To
	}
	return out.Flush()
}
