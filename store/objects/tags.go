package objects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/chunk"
	"castar/store/record"
)

// A tag is an object, named by the digest of its name; each ingest in the log is one, named by when it was recorded, to
// the nanosecond, so that the order of the names is that of the log. Both hold a record of two lines (see package record).

// tags implements store.Tags. What it stores does not go through the queue: it is durable at once.
type tags struct {
	q     *queue
	ahead int
	last  *atomic.Int64 // time of the last record that this handle made
}

func (t tags) Get(ctx context.Context, name string) (store.Tag, error) {
	tag, err := t.read(ctx, tagName(name))
	switch {
	case store.IsNotFound(err):
		err = fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	case err == nil && tag.Name != name:
		err = &store.CorruptError{Where: t.q.where(tagName(name)), Err: fmt.Errorf("names tag %q", tag.Name)}
	}
	return tag, err
}

func (t tags) read(ctx context.Context, name string) (store.Tag, error) {
	b, err := t.q.bucket.Get(ctx, name, 0, record.Max)
	if err != nil {
		return store.Tag{}, err
	}
	tag, err := record.DecodeTag(record.TwoLines, b)
	if err != nil {
		err = record.At(t.q.where(name), err)
	}
	return tag, err
}

func (t tags) Set(ctx context.Context, tag store.Tag) error {
	if err := store.ValidateTag(tag.Name); err != nil {
		return err
	}
	_, err := t.read(ctx, tagName(tag.Name))
	if !errors.Is(err, store.ErrNewer) {
		err = t.put(ctx, tagName(tag.Name), tag)
	}
	if err != nil {
		return fmt.Errorf("tag %q: %w", tag.Name, err)
	}
	return nil
}

func (t tags) put(ctx context.Context, name string, tag store.Tag) error {
	if err := t.q.writable(); err != nil {
		return err
	}
	b, err := record.EncodeTag(record.TwoLines, tag)
	if err == nil {
		err = t.q.bucket.Put(ctx, name, b)
	}
	if err == nil {
		err = t.q.bucket.Sync(ctx)
	}
	return err
}

func (t tags) Delete(ctx context.Context, name string) error {
	if err := t.q.writable(); err != nil {
		return err
	}
	_, err := t.read(ctx, tagName(name))
	switch {
	case store.IsNotFound(err):
		return fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	case errors.Is(err, store.ErrNewer):
		return fmt.Errorf("tag %q: %w", name, err)
	}
	if err := t.q.bucket.Delete(ctx, tagName(name)); err != nil {
		return err
	}
	return t.q.bucket.Sync(ctx)
}

func (t tags) All(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		var all []store.Tag
		for r, err := range t.records(ctx, tagsPrefix) {
			if err == nil && r.err == nil && tagName(r.tag.Name) != r.name {
				r.err = &store.CorruptError{Where: t.q.where(r.name), Err: fmt.Errorf("names tag %q, which is not its own", r.tag.Name)}
			}
			if err = errors.Join(err, r.err); err == nil {
				all = append(all, r.tag)
			} else if !yield(store.Tag{}, err) {
				return
			}
		}
		slices.SortFunc(all, func(a, b store.Tag) int { return strings.Compare(a.Name, b.Name) })
		for _, tag := range all {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// stored is a record that was read, or what is wrong with it.
type stored struct {
	name string
	tag  store.Tag
	err  error
}

// records yields what is stored below a prefix, in order of the names. The loop may change it.
func (t tags) records(ctx context.Context, prefix string) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		var names []string
		for o, err := range t.q.bucket.List(ctx, prefix, "") {
			if err != nil {
				yield(stored{}, err)
				return
			}
			names = append(names, o.Name)
		}
		fetch := func(ctx context.Context, i int) (stored, error) {
			tag, err := t.read(ctx, names[i])
			return stored{names[i], tag, err}, ctx.Err()
		}
		for r, err := range chunk.Ahead(ctx, len(names), t.ahead, fetch, nil) {
			if err == nil && store.IsNotFound(r.err) {
				continue // deleted since it was listed
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (t tags) Record(ctx context.Context, tag store.Tag) error {
	now := time.Now().UnixNano()
	for {
		last := t.last.Load()
		now = max(now, last+1)
		if t.last.CompareAndSwap(last, now) {
			break
		}
	}
	return t.put(ctx, fmt.Sprintf("%s%016x-%s", logPrefix, uint64(now)&math.MaxInt64, strings.ToLower(rand.Text())), tag)
}

func (t tags) Log(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		for r, err := range t.records(ctx, logPrefix) {
			if !yield(r.tag, errors.Join(err, r.err)) {
				return
			}
		}
	}
}

// Forget removes one object for each line. If it is interrupted, some of the lines are gone, each as a whole.
func (t tags) Forget(ctx context.Context, ingests []store.Tag) error {
	if err := t.q.writable(); err != nil {
		return err
	}
	isGone := store.AmongTags(ingests)
	for r, err := range t.records(ctx, logPrefix) {
		if err == nil && r.err == nil && isGone(r.tag) {
			err = t.q.bucket.Delete(ctx, r.name)
		}
		if err != nil {
			return err
		}
	}
	return t.q.bucket.Sync(ctx)
}
