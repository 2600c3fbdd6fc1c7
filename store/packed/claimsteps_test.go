package packed

import (
	"cmp"
	"context"
	"errors"
	"io"

	"castar/store"
)

// readBomb reads what the tag reaches, several at once.
func readBomb(ctx context.Context, path string) error {
	st, err := Open(ctx, path, Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	tag, err := st.Tags.Get(ctx, "bomb")
	if err != nil {
		return err
	}
	root, err := st.Directories.Get(ctx, tag.Root.Digest)
	if err != nil {
		return err
	}
	errs := make(chan error, len(root))
	turns := make(chan struct{}, 8)
	for _, n := range root {
		go func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if n.Kind == store.KindDirectory {
				_, err := st.Directories.Get(ctx, n.Digest)
				errs <- err
				return
			}
			b, err := st.Blobs.Open(ctx, n.Digest)
			if err == nil {
				_, err = io.Copy(io.Discard, b)
				b.Close()
			}
			errs <- err
		}()
	}
	for range root {
		if err := <-errs; err == nil {
			return errors.New("the bomb was read, and nothing was wrong")
		}
	}
	return nil
}

func scrubBomb(ctx context.Context, path string) error {
	st, err := Open(ctx, path, Options{Tolerate: true})
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.Scrubber.Scrub(ctx, store.ScrubOptions{}, func(store.Damage) {})
	return err
}

func sweepBomb(ctx context.Context, path string) error {
	st, err := Open(ctx, path, Options{Exclusive: true})
	if err != nil {
		return err
	}
	defer st.Close()
	keep := st.NewSet()
	tag, err := st.Tags.Get(ctx, "bomb")
	if err != nil {
		return err
	}
	root, err := st.Directories.Get(ctx, tag.Root.Digest)
	for _, n := range root {
		_, aerr := keep.Add(n.Kind, n.Digest)
		err = cmp.Or(err, aerr)
		if n.Kind == store.KindFile && err == nil {
			_, err = st.Blobs.Chunks(ctx, n.Digest)
		}
	}
	if err == nil {
		_, err = st.Sweeper.Sweep(ctx, keep, store.SweepOptions{})
	}
	return err
}

func repairBomb(ctx context.Context, path string) error {
	st, err := Open(ctx, path, Options{Exclusive: true, Tolerate: true})
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.Repairer.Repair(ctx, store.RepairOptions{})
	return err
}
