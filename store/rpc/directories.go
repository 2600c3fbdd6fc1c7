package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// directories implements store.Directories.
type directories struct{ c *client }

func request(d store.Digest, recursive bool) *protos.GetDirectoryRequest {
	return &protos.GetDirectoryRequest{ByWhat: &protos.GetDirectoryRequest_Digest{Digest: d[:]}, Recursive: recursive}
}

// Get asks for the directory by itself, unless it is expected: see Expect. If the server does not find it, Get looks for a closure that has it.
func (ds directories) Get(ctx context.Context, d store.Digest) (dir store.Directory, err error) {
	message, kept, err := ds.c.expected.get(ctx, d)
	if !kept && err == nil {
		message, kept, err = ds.c.closures.kept.get(d)
	}
	if !kept && err == nil {
		if message, err = ds.get(ctx, d); store.IsNotFound(err) {
			kept = true
			message, err = ds.c.closures.look(ctx, d)
		}
	}
	if err != nil {
		return nil, err
	}
	if got := store.Sum(message); got != d {
		return nil, corrupt(d, store.ErrDigestMismatch)
	}
	if dir, err = store.DecodeDirectory(message); err != nil {
		return nil, corrupt(d, err)
	}
	if !kept {
		ds.c.closures.found(d, dir)
	}
	return dir, nil
}

// get returns what the server has for d, unchecked.
func (ds directories) get(ctx context.Context, d store.Digest) (message []byte, err error) {
	err = ds.c.retry(ctx, func(k *call) error {
		stream, err := ds.c.directories.Get(k.ctx, request(d, false))
		if err == nil {
			message, err = wire.RecvDirectory(stream)
		}
		return err
	})
	if err == io.EOF {
		return nil, corrupt(d, errors.New("the answer is empty"))
	}
	return message, fromStatus(tooLong(d, err), d)
}

// Put sends a directory without those below it. If there are any, only a server of castar takes that.
func (ds directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	message, err := store.EncodeDirectory(dir)
	if err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(message)
	ctx = metadata.AppendToOutgoingContext(ctx, wire.PartialHeader, "1")
	var long longDirectories
	long.note(d, dir, message)
	return d, fromStatus(long.explain(ds.c.putDirectory(ctx, d, message, func(instance string) error { return ds.c.ledger.put(instance) })), d)
}

// putDirectory uploads one directory. acked gets the server's instance.
func (c *client) putDirectory(ctx context.Context, d store.Digest, message []byte, acked func(string) error) error {
	return c.retry(ctx, func(k *call) error {
		stream, err := c.directories.Put(k.ctx)
		if err == nil {
			err = stream.Send(wire.RawDirectory(message))
		}
		return k.finish(stream, err, new(protos.PutDirectoryResponse), d, acked)
	})
}

// Walk has the server send the whole closure. It checks that one of the directories before refers to each, and that none
// is missing at the end. It does not check recorded sizes. If the server does not find the closure, Walk looks for it in
// larger ones.
func (ds directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		found, more := false, true
		err := ds.closure(ctx, root, 0, func(named store.NamedDirectory, _ []byte) error {
			found = true
			ds.c.closures.found(root, named.Directory)
			if more = yield(named, nil); !more {
				return errEnough
			}
			return nil
		})
		if err = fromStatus(tooLong(root, err), root); !found && store.IsNotFound(err) {
			if _, err = ds.c.closures.look(ctx, root); err == nil {
				store.WalkByGet(ctx, ds, root)(yield)
				return
			}
		}
		if err != nil && more {
			yield(store.NamedDirectory{Digest: root}, store.About("directory", root, err))
		}
	}
}

// errEnough ends a closure early because its reader wants no more.
var errEnough = errors.New("closure: no more is needed")

// maxStrays is how many directories a closure may have that no other in it refers to.
const maxStrays = 1 << 16

// fetch calls take for each directory of a closure, as far as the server has them. It may call it twice for one.
func (ds directories) fetch(ctx context.Context, root store.Digest, take func(store.Digest, []byte) error) error {
	return ds.c.retryUnavailable(ctx, func() error {
		return ds.closure(ctx, root, maxStrays, func(named store.NamedDirectory, message []byte) error {
			return take(named.Digest, message)
		})
	})
}

// closure calls take for each directory of a closure, decoded and encoded, until take or the server returns an error. It
// accepts strays directories that no other refers to.
func (ds directories) closure(
	ctx context.Context, root store.Digest, strays int, take func(store.NamedDirectory, []byte) error,
) error {
	k := ds.c.begin(ctx)
	defer k.end()
	stream, err := ds.c.directories.Get(k.ctx, request(root, true))
	if err != nil {
		return k.why(err)
	}
	check := store.NewClosureCheck(root)
	check.Strays = strays
	for {
		var named store.NamedDirectory
		var message []byte
		err := k.wait(func() (err error) {
			for again := true; again && err == nil; { // a directory that has come before does not count as an answer
				if message, err = wire.RecvDirectory(stream); err == nil {
					if named, again, err = check.Next(message); err != nil {
						err = corrupt(root, err)
					}
				}
			}
			return err
		})
		if err == io.EOF {
			return incomplete(root, check.Missing())
		}
		if status.Code(err) == codes.NotFound && !slices.Contains(check.Missing(), root) { // the server says what is missing
			return reported(err, status.Convert(err).Message())
		}
		if err == nil {
			err = take(named, message)
		}
		if err != nil {
			return err
		}
	}
}

// errMissing says that a closure ended without a directory that another refers to.
var errMissing = errors.New("missing")

// incomplete returns the error for the end of a closure that lacks directories, or nil if it lacks none.
func incomplete(root store.Digest, missing []store.Digest) error {
	switch {
	case slices.Contains(missing, root):
		return fmt.Errorf("%s: %w", root, store.ErrNotFound)
	case len(missing) > 0:
		return corrupt(root, fmt.Errorf("directories are %w: %d, among them %s", errMissing, len(missing), missing[0]))
	}
	return nil
}
