package rpc

import (
	"context"

	"golang.org/x/sync/errgroup"

	"castar/store"
)

// readSingly reads the blobs that a server without GetMany was to send, and those that come after them, each by itself. As
// many are on their way as hide the round trip. Long ones are left for those who want them.
func (c *client) readSingly(ctx context.Context, a *ahead) error {
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(mostSingles)
	for ctx.Err() == nil {
		d, ok := a.pop()
		if !ok {
			break
		}
		if err := c.groups.pause(ctx); err != nil {
			c.groups.settle([]store.Digest{d})
			break
		}
		reads.Go(func() error {
			defer c.groups.settle([]store.Digest{d})
			return c.singles.do(ctx, func() error { return c.readSingle(ctx, d) })
		})
	}
	return reads.Wait()
}

// pop returns the next blob that is to come.
func (a *ahead) pop() (d store.Digest, ok bool) {
	if len(a.asked) > 0 {
		d, a.asked = a.asked[0], a.asked[1:]
		return d, true
	}
	for !a.last {
		if d, ok = a.next(); !ok {
			a.last = true
		} else if a.g.expect(d) {
			a.g.stir(0)
			return d, true
		}
	}
	return d, false
}

// readSingle keeps a blob of at most inlineSize bytes as a group of one. What is wrong with it shows when it is read.
func (c *client) readSingle(ctx context.Context, d store.Digest) error {
	data, rest, err := c.readHead(ctx, d)
	switch {
	case overloaded(err):
		return err
	case rest != nil:
		rest.close()
	case err == nil:
		c.groups.keepAhead(&keptGroup{members: []store.Chunk{{Digest: d, Size: uint64(len(data))}}, single: true, size: len(data), raw: data})
	}
	return ctx.Err()
}
