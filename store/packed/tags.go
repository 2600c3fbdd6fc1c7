package packed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"syscall"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/record"
)

// A tag is a file of its own in tags/, named by the digest of the tag's name (names may hold slashes, and file systems
// fold case). The log is a file of lines. Both hold the same record, sealed.

// tags implements store.Tags.
type tags struct{ st *Store }

func (t tags) Get(_ context.Context, name string) (store.Tag, error) {
	tag, err := t.read(tagPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return tag, fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	}
	if err == nil && tag.Name != name {
		err = &store.CorruptError{Where: t.st.fs.Path(tagPath(name)), Err: fmt.Errorf("names tag %q", tag.Name)}
	}
	return tag, err
}

// read reads the tag file at a path.
func (t tags) read(path string) (store.Tag, error) {
	b, err := readSmall(t.st.fs, path)
	if err != nil {
		return store.Tag{}, err
	}
	tag, err := record.DecodeTag(record.OneLine, b)
	if err != nil {
		err = record.At(t.st.fs.Path(path), err)
	}
	return tag, err
}

// keepNewer returns an error if the file at a path must neither be replaced nor removed: store.ErrNewer, or why it cannot be
// read now, because then it may be that. What is damaged or on a bad disk may go.
func (t tags) keepNewer(path string) error {
	_, err := t.read(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || store.IsCorrupt(err) || errors.Is(err, syscall.EIO) {
		return nil
	}
	if fi, serr := t.st.fs.Stat(path); serr == nil && !fi.Mode().IsRegular() {
		return nil
	}
	return err
}

// missing reports whether there is nothing at a path, not even a symbolic link that leads nowhere.
func (t tags) missing(path string) bool {
	_, err := t.st.fs.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func (t tags) Set(_ context.Context, tag store.Tag) error {
	if err := t.st.writable(); err != nil {
		return err
	}
	if err := store.ValidateTag(tag.Name); err != nil {
		return err
	}
	b, err := record.EncodeTag(record.OneLine, tag)
	if err == nil {
		err = t.keepNewer(tagPath(tag.Name))
	}
	if err != nil {
		return fmt.Errorf("tag %q: %w", tag.Name, err)
	}
	if err := durable.WriteFile(t.st.fs, pack.TempPath(durable.TempName()), tagPath(tag.Name), b); err != nil {
		return err
	}
	return t.st.fs.SyncDir(".") // for the config's name: whoever made the store may have been killed before its sync
}

func (t tags) Delete(_ context.Context, name string) error {
	if err := t.st.writable(); err != nil {
		return err
	}
	if err := t.keepNewer(tagPath(name)); err != nil {
		return fmt.Errorf("tag %q: %w", name, err)
	}
	err := t.st.fs.Remove(tagPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return t.st.fs.SyncDir(tagsDir)
}

func (t tags) All(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		entries, err := t.st.fs.ReadDir(tagsDir)
		if err != nil {
			yield(store.Tag{}, err)
			return
		}
		var all []store.Tag
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue // not ours
			}
			path := tagsDir + "/" + e.Name()
			if e.Name() == lostName {
				if err := t.lost(); err != nil && !yield(store.Tag{}, err) {
					return
				}
				continue
			}
			tag, err := t.read(path)
			if errors.Is(err, fs.ErrNotExist) && t.missing(path) {
				continue // deleted since the folder was read
			}
			if err == nil && tagPath(tag.Name) != path {
				err = &store.CorruptError{Where: t.st.fs.Path(path), Err: fmt.Errorf("names tag %q, which is not its own", tag.Name)}
			}
			if err == nil {
				all = append(all, tag)
			} else if !yield(tag, err) {
				return
			}
		}
		slices.SortFunc(all, func(a, b store.Tag) int { return strings.Compare(a.Name, b.Name) })
		for _, tag := range all {
			if !yield(tag, ctx.Err()) {
				return
			}
		}
	}
}

// Record appends one line with one write, so that lines of several processes do not mix. It also begins with a newline:
// a crash may have cut short the line before it, or left zeros there, and Log then reports that line alone.
func (t tags) Record(_ context.Context, tag store.Tag) (err error) {
	if err := t.st.writable(); err != nil {
		return err
	}
	line, err := record.EncodeTag(record.OneLine, tag)
	if err != nil {
		return err
	}
	f, err := t.st.fs.Append(logName)
	if err != nil {
		return err
	}
	if _, err = f.Write(append([]byte{'\n'}, line...)); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = t.st.fs.SyncDir(".") // for the log's own name, whichever process made it
	}
	return err
}

func (t tags) Log(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		for l, err := range t.lines(ctx) {
			if !yield(l.tag, err) {
				return
			}
		}
	}
}

// lines is Log, with the lines as they are.
func (t tags) lines(ctx context.Context) iter.Seq2[logLine, error] {
	return func(yield func(logLine, error) bool) {
		f, err := t.st.fs.Open(logName)
		if errors.Is(err, fs.ErrNotExist) && t.missing(logName) {
			return
		}
		if err != nil {
			yield(logLine{}, err)
			return
		}
		defer f.Close()
		size, err := f.Size()
		if err != nil {
			yield(logLine{}, err)
			return
		}
		r := &logReader{lines: bufio.NewReader(io.NewSectionReader(f, 0, size)), where: t.st.fs.Path(logName)}
		r.all(ctx)(yield)
	}
}

// lostName is a file in tags/ that is no tag. It says that there were tags of which nothing is known, so that nobody can
// say what is dead. A program that does not know it takes it for a damaged tag, and removes nothing either.
const lostName = "lost"

const lostPath = tagsDir + "/" + lostName

// lostMark is the JSON of the line in it.
type lostMark struct {
	Lost string    `json:"lost"` // how
	Time time.Time `json:"time"` // when it was found out
}

// encodeLost returns the file.
func encodeLost(how string) ([]byte, error) {
	return record.OneLine.Encode(lostMark{how, time.Now()}, "")
}

// lost returns the error that says that tags were lost, or nil where none were.
func (t tags) lost() error {
	m, err := t.readLost()
	reason := store.ErrTagsLost
	switch {
	case err != nil && t.missing(lostPath):
		return nil
	case errors.Is(err, store.ErrNewer):
		return err
	case err == nil && m.Lost != "":
		reason = fmt.Errorf("%w: %s", reason, m.Lost)
	}
	return &store.CorruptError{Where: t.st.fs.Path(lostPath), Err: reason}
}

// readLost reads the file.
func (t tags) readLost() (m lostMark, err error) {
	b, err := readSmall(t.st.fs, lostPath)
	if err != nil {
		return m, err
	}
	if _, err = record.OneLine.Decode(b, &m); err != nil {
		err = record.At(t.st.fs.Path(lostPath), err)
	}
	return m, err
}

// forgetLost removes what says that tags were lost.
func (t tags) forgetLost() error {
	if t.missing(lostPath) {
		return nil
	}
	if err := t.st.fs.Remove(lostPath); err != nil {
		return err
	}
	return t.st.fs.SyncDir(tagsDir)
}
