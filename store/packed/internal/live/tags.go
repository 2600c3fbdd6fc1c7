package live

import (
	"bufio"
	"bytes"
	"cmp"
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
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// A tag is a file of its own in tags/, named by the digest of the tag's name (names may hold slashes, and file systems
// fold case). The log is a file of lines. Both hold the same record, sealed.

// Tags implements store.Tags.
type Tags struct{ st *Store }

// Tags returns the tags and the log of the store.
func (st *Store) Tags() Tags { return Tags{st} }

// Get implements store.Tags.
func (t Tags) Get(_ context.Context, name string) (store.Tag, error) {
	tag, err := t.Read(sealed.TagPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return tag, fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	}
	return tag, err
}

// Read reads the tag file at a path. It returns the tag also if that should be at another path.
func (t Tags) Read(path string) (tag store.Tag, err error) {
	b, err := sealed.ReadSmall(t.st.Fs, path)
	if err == nil {
		if tag, err = record.DecodeTag(record.OneLine, b); err != nil {
			err = record.At(t.st.Fs.Path(path), err)
		} else if sealed.TagPath(tag.Name) != path {
			err = &store.CorruptError{Where: t.st.Fs.Path(path), Err: fmt.Errorf("names tag %q, which is not its own", tag.Name)}
		}
	}
	if t.st.Bucket != nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		t.st.lately.Store(path, time.Now())
	}
	return tag, err
}

// keepNewer returns an error if the file at a path must neither be replaced nor removed: store.ErrNewer, or why it cannot be
// read now, because then it may be that. What is damaged or on a bad disk may go. old is the tag in the file, if it can be
// read.
func (t Tags) keepNewer(path string) (old store.Tag, err error) {
	old, err = t.Read(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || store.IsCorrupt(err) || errors.Is(err, syscall.EIO) {
		return old, nil
	}
	if fi, serr := t.st.Fs.Stat(path); serr == nil && !fi.Mode().IsRegular() {
		return old, nil
	}
	return old, err
}

// mayReplace is keepNewer where the old tag does not matter. A tag in a bucket that was read a moment ago, or was not there, is not read again:
// that takes a round trip and says little more, since it may change at any time.
func (t Tags) mayReplace(path string) error {
	const moment = 5 * time.Second
	if at, ok := t.st.lately.Load(path); ok && time.Since(at.(time.Time)) < moment {
		return nil
	}
	_, err := t.keepNewer(path)
	return err
}

// missing reports whether err, from opening a path, means that nothing is there, not even a symbolic link that leads nowhere.
func (t Tags) missing(path string, err error) bool {
	if t.st.Bucket == nil && errors.Is(err, fs.ErrNotExist) {
		_, err = t.st.Fs.Stat(path)
	}
	return errors.Is(err, fs.ErrNotExist)
}

// Set implements store.Tags.
func (t Tags) Set(ctx context.Context, tag store.Tag) error {
	write, err := t.setting(tag)
	if err != nil {
		return err
	}
	return t.st.acknowledge(ctx, tag, write)
}

// setting returns what sets a tag, if that may be done.
func (t Tags) setting(tag store.Tag) (write func() error, err error) {
	if err := cmp.Or(t.st.Writable(), store.ValidateTag(tag.Name)); err != nil {
		return nil, err
	}
	b, err := record.EncodeTag(record.OneLine, tag)
	if err == nil {
		err = t.mayReplace(sealed.TagPath(tag.Name))
	}
	if err != nil {
		return nil, fmt.Errorf("tag %q: %w", tag.Name, err)
	}
	return func() error {
		err := durable.WriteFile(t.st.Fs, pack.TempPath(durable.TempName()), sealed.TagPath(tag.Name), b)
		if err != nil {
			return err
		}
		return t.st.Fs.SyncDir(".") // for the config's name: whoever made the store may have been killed before its sync
	}, nil
}

// Delete implements store.Tags.
func (t Tags) Delete(_ context.Context, name string) error {
	if err := t.st.Writable(); err != nil {
		return err
	}
	old, err := t.keepNewer(sealed.TagPath(name))
	if err != nil {
		return fmt.Errorf("tag %q: %w", name, err)
	}
	err = t.st.Fs.Remove(sealed.TagPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if old.Name != "" {
		t.giveUp(old)
	}
	return t.st.Fs.SyncDir(sealed.TagsDir)
}

// All implements store.Tags.
func (t Tags) All(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		entries, err := t.st.Fs.ReadDir(sealed.TagsDir)
		if err != nil {
			yield(store.Tag{}, err)
			return
		}
		var all []store.Tag
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue // not ours
			}
			path := sealed.TagsDir + "/" + e.Name()
			if e.Name() == LostName {
				if err := t.Lost(); err != nil && !yield(store.Tag{}, err) {
					return
				}
				continue
			}
			tag, err := t.Read(path)
			if t.missing(path, err) {
				continue // deleted since the folder was read
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
func (t Tags) Record(ctx context.Context, tag store.Tag) (err error) {
	write, err := t.recording(tag)
	if err != nil {
		return err
	}
	return t.st.acknowledge(ctx, tag, write)
}

// recording returns what adds a line to the log.
func (t Tags) recording(tag store.Tag) (write func() error, err error) {
	if err := t.st.Writable(); err != nil {
		return nil, err
	}
	line, err := record.EncodeTag(record.OneLine, tag)
	return func() error { return t.appendLine(append([]byte{'\n'}, line...)) }, err
}

func (t Tags) appendLine(line []byte) error {
	t.st.logging.Lock()
	defer t.st.logging.Unlock()
	if err := durable.AppendFile(t.st.Fs, sealed.LogName, line); err != nil {
		return err
	}
	return t.st.Fs.SyncDir(".") // for the log's own name, whichever process made it
}

// Log implements store.Tags.
func (t Tags) Log(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		for l, err := range t.Lines(ctx, sealed.LogName) {
			if !yield(l.Tag, err) {
				return
			}
		}
	}
}

// Lines yields the lines of a file like the log, which may be missing.
func (t Tags) Lines(ctx context.Context, name string) iter.Seq2[sealed.LogLine, error] {
	return func(yield func(sealed.LogLine, error) bool) {
		f, err := t.st.Fs.Open(name)
		if t.missing(name, err) {
			return
		}
		if err != nil {
			yield(sealed.LogLine{}, err)
			return
		}
		defer f.Close()
		size, err := f.Size()
		if err != nil {
			yield(sealed.LogLine{}, err)
			return
		}
		r := &sealed.LogReader{Lines: bufio.NewReader(io.NewSectionReader(f, 0, size)), Where: t.st.Fs.Path(name)}
		r.All(ctx)(yield)
	}
}

// LostName is a file in tags/ that is no tag. It says that there were tags about which nothing is known, so that nobody
// can say what is dead. A program that does not know it takes it for a damaged tag, and removes nothing either.
const LostName = "lost"

// LostPath is where that file is in the store.
const LostPath = sealed.TagsDir + "/" + LostName

// lostMark is the JSON of the line in it.
type lostMark struct {
	Lost string    `json:"lost"` // how
	Time time.Time `json:"time"` // when it was found out
}

// EncodeLost returns the file.
func EncodeLost(how string) ([]byte, error) {
	return record.OneLine.Encode(lostMark{how, time.Now()}, "")
}

// Lost returns the error that says that tags were lost, or nil where none were.
func (t Tags) Lost() error {
	m, err := t.ReadLost()
	reason := store.ErrTagsLost
	switch {
	case t.missing(LostPath, err):
		return nil
	case errors.Is(err, store.ErrNewer):
		return err
	case err == nil && m.Lost != "":
		reason = fmt.Errorf("%w: %s", reason, m.Lost)
	}
	return &store.CorruptError{Where: t.st.Fs.Path(LostPath), Err: reason}
}

// ReadLost reads the file.
func (t Tags) ReadLost() (m lostMark, err error) {
	b, err := sealed.ReadSmall(t.st.Fs, LostPath)
	if err != nil {
		return m, err
	}
	if _, err = record.OneLine.Decode(b, &m); err != nil {
		err = record.At(t.st.Fs.Path(LostPath), err)
	}
	return m, err
}

// ForgetLost removes what says that tags were lost.
func (t Tags) ForgetLost() error {
	if err := t.st.Fs.Remove(LostPath); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return t.st.Fs.SyncDir(sealed.TagsDir)
}

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
	_ = durable.AppendFile(t.st.Fs, sealed.GivenUpName, lines.Bytes())
}

// GivenUp implements store.Sweeper.
func (t Tags) GivenUp(ctx context.Context) (tags []store.Tag) {
	for l, err := range t.Lines(ctx, sealed.GivenUpName) {
		if err == nil {
			tags = append(tags, l.Tag)
		}
	}
	return tags
}

// DropGivenUp removes what GivenUp returns.
func (t Tags) DropGivenUp() error {
	err := t.st.Fs.Remove(sealed.GivenUpName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
