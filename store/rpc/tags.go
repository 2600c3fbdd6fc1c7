package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/record"
	"castar/store/rpc/internal/wire"
)

const (
	// mostRecords is how many tags, or lines of the log, a server may have.
	mostRecords = 1 << 22
	// mostRecordBytes is how long they may be together.
	mostRecordBytes = 1 << 30
	// forgetSize is the length, in bytes, at which a call that forgets is full.
	forgetSize = record.Max
)

// tags implements store.Tags and store.RemoteTags by castar.v1.TagService. A server without that service has no tags.
type tags struct {
	c   *client
	rpc protos.TagServiceClient
	has *atomic.Int32 // what Have has found out: 0 nothing, 1 there are tags, -1 there are none

	most int // mostRecords
}

// Have implements store.RemoteTags.
func (ts tags) Have(ctx context.Context) (bool, error) {
	if has := ts.has.Load(); has != 0 {
		return has > 0, nil
	}
	err := ts.call(ctx, "", func(k *call) error {
		_, err := ts.rpc.Get(k.ctx, &protos.GetTagRequest{})
		return err
	})
	if errors.Is(err, store.ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}

// call makes a call about a tag, or about none, and makes it again while the server is unavailable.
func (ts tags) call(ctx context.Context, name string, do func(k *call) error) error {
	return ts.explain(name, ts.c.retry(ctx, do))
}

// once makes a call that may change something, and must not be made twice.
func (ts tags) once(ctx context.Context, name string, do func(k *call) error) error {
	k := ts.c.begin(ctx)
	defer k.end()
	return ts.explain(name, k.why(do(k)))
}

// renewing calls do, and calls it again if the server has another instance than before, and still has everything. The server
// has done nothing then.
func (ts tags) renewing(do func() error) error {
	err := do()
	if errors.Is(err, errRestarted) {
		if err = ts.c.ledger.renew(); err == nil {
			err = do()
		}
	}
	return err
}

// explain returns the error of a call as one of package store, and learns from it what the server is.
func (ts tags) explain(name string, err error) error {
	s, isStatus := status.FromError(err)
	switch {
	case isStatus && s.Code() == codes.Unimplemented:
		ts.has.Store(-1)
		return fmt.Errorf("tags: %w", store.ErrUnsupported)
	case answered(err):
		ts.has.Store(1)
		ts.c.meetCastar()
	}
	switch {
	case err == nil || !isStatus:
		return err
	case s.Code() == codes.NotFound:
		return fmt.Errorf("tag %q: %w", name, store.ErrNotFound)
	case s.Code() == codes.DataLoss:
		return &store.CorruptError{Err: fmt.Errorf("tag %q: the server cannot read it", name)}
	case s.Code() == codes.Aborted:
		return ts.c.ledger.restarted()
	case (s.Code() == codes.FailedPrecondition || s.Code() == codes.PermissionDenied) && name != "":
		return fmt.Errorf("tag %q: %w", name, fromStatus(err, store.Digest{}))
	}
	return fromStatus(err, store.Digest{})
}

// Get implements store.Tags.
func (ts tags) Get(ctx context.Context, name string) (t store.Tag, err error) {
	if err := store.ValidateTag(name); err != nil {
		return t, err
	}
	var resp *protos.GetTagResponse
	err = ts.call(ctx, name, func(k *call) (err error) {
		resp, err = ts.rpc.Get(k.ctx, &protos.GetTagRequest{Name: name})
		return err
	})
	if err != nil {
		return t, err
	}
	t, err = decodeRecord(resp.GetRecord())
	if err == nil && t.Name != name {
		err = &store.CorruptError{Where: "the server", Err: fmt.Errorf("tag %q came for %q", t.Name, name)}
	}
	return t, err
}

// decodeRecord reads a record that a server has sent.
func decodeRecord(b []byte) (t store.Tag, err error) {
	if len(b) > record.Max {
		err = fmt.Errorf("a record of %d bytes, want at most %d", len(b), record.Max)
	} else {
		t, err = record.DecodeTag(record.OneLine, b)
	}
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		return store.Tag{}, record.At("the server", err)
	}
	return t, nil
}

// Set implements store.Tags.
func (ts tags) Set(ctx context.Context, t store.Tag) error { return ts.set(ctx, t, nil) }

// Swap implements store.RemoteTags.
func (ts tags) Swap(ctx context.Context, t store.Tag, old *store.Tag) (err error) {
	expected := []byte{}
	if old != nil {
		expected, err = record.EncodeTag(record.OneLine, *old)
	}
	if err != nil {
		return err
	}
	return ts.set(ctx, t, expected)
}

// set sets a tag if it is what is expected; nil expects nothing.
func (ts tags) set(ctx context.Context, t store.Tag, expected []byte) error {
	if err := store.ValidateTag(t.Name); err != nil {
		return err
	}
	b, err := record.EncodeTag(record.OneLine, t)
	if err != nil {
		return fmt.Errorf("tag %q: %w", t.Name, err)
	}
	return ts.renewing(func() error {
		return ts.call(ctx, t.Name, func(k *call) error {
			_, err := ts.rpc.Set(k.ctx, &protos.SetTagRequest{Record: b, Instance: ts.c.ledger.known(), Expected: expected})
			return err
		})
	})
}

// MaySet implements store.RemoteTags.
func (ts tags) MaySet(ctx context.Context, name string) error {
	if err := store.ValidateTag(name); err != nil {
		return err
	}
	return ts.call(ctx, name, func(k *call) error {
		_, err := ts.rpc.MaySet(k.ctx, &protos.MaySetTagRequest{Name: name})
		return err
	})
}

// Delete implements store.Tags.
func (ts tags) Delete(ctx context.Context, name string) error {
	if err := store.ValidateTag(name); err != nil {
		return err
	}
	return ts.once(ctx, name, func(k *call) error {
		_, err := ts.rpc.Delete(k.ctx, &protos.DeleteTagRequest{Name: name})
		return err
	})
}

// Record implements store.Tags.
func (ts tags) Record(ctx context.Context, t store.Tag) error {
	b, err := record.EncodeTag(record.OneLine, t)
	if err != nil {
		return err
	}
	return ts.renewing(func() error {
		return ts.once(ctx, t.Name, func(k *call) error {
			_, err := ts.rpc.Record(k.ctx, &protos.RecordRequest{Record: b, Instance: ts.c.ledger.known()})
			return err
		})
	})
}

// Forget implements store.Tags. It makes several calls if there are many lines, so an error may leave some of them.
func (ts tags) Forget(ctx context.Context, ingests []store.Tag) error {
	for len(ingests) > 0 {
		req, size := new(protos.ForgetRequest), 0
		for len(ingests) > 0 && size < forgetSize {
			b, err := record.EncodeTag(record.OneLine, ingests[0])
			if err == nil { // the server has no other
				req.Records, size = append(req.Records, b), size+len(b)
			}
			ingests = ingests[1:]
		}
		err := ts.call(ctx, "", func(k *call) error {
			_, err := ts.rpc.Forget(k.ctx, req)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// All implements store.Tags.
func (ts tags) All(ctx context.Context) iter.Seq2[store.Tag, error] {
	last := ""
	return ts.list(ctx, func(ctx context.Context) (recordStream, error) {
		last = ""
		return ts.rpc.List(ctx, &protos.ListTagsRequest{})
	}, func(t store.Tag) error {
		if err := store.ValidateTag(t.Name); err != nil {
			return err
		}
		if t.Name <= last {
			return fmt.Errorf("tag %q came after %q", t.Name, last)
		}
		last = t.Name
		return nil
	})
}

// Log implements store.Tags.
func (ts tags) Log(ctx context.Context) iter.Seq2[store.Tag, error] {
	return ts.list(ctx, func(ctx context.Context) (recordStream, error) {
		return ts.rpc.Log(ctx, &protos.ListLogRequest{})
	}, func(store.Tag) error { return nil })
}

// recordStream is the answer to a call that lists records.
type recordStream = grpc.ServerStreamingClient[protos.ListRecordsResponse]

// list yields the records of a call. check reports what is wrong with the next one. If the server is unavailable before
// the first record, it is asked again.
func (ts tags) list(
	ctx context.Context, begin func(context.Context) (recordStream, error), check func(store.Tag) error,
) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		var k *call
		var stream recordStream
		var m *protos.ListRecordsResponse
		next := func() error {
			return k.wait(func() (err error) {
				for err == nil && len(m.GetRecords()) == 0 { // an empty message does not count as an answer
					m, err = stream.Recv()
				}
				return err
			})
		}
		err := ts.c.retryUnavailable(ctx, func() (err error) {
			k = ts.c.begin(ctx)
			if stream, err = begin(k.ctx); err == nil {
				err = next()
			}
			if err != nil && err != io.EOF {
				k.end()
			}
			return k.why(err)
		})
		defer k.end()
		records, bytes := 0, 0
		for ; err == nil; err = next() {
			for _, r := range m.GetRecords() {
				records, bytes = records+1, bytes+len(r.GetWhole())
				if records > ts.most || bytes > mostRecordBytes {
					yield(store.Tag{}, &store.CorruptError{Where: "the server", Err: errors.New("too many tags or lines of the log")})
					return
				}
				if !yield(fromListed(r, check)) {
					return
				}
			}
			m = nil
		}
		if err == io.EOF {
			err = nil
		}
		if err = ts.explain("", err); err != nil {
			yield(store.Tag{}, err)
		}
	}
}

// fromListed returns a tag or line from a list, or why there is none.
func fromListed(r *protos.ListedRecord, check func(store.Tag) error) (store.Tag, error) {
	switch is := r.GetRecord().(type) {
	case *protos.ListedRecord_Whole:
		t, err := decodeRecord(is.Whole)
		if err == nil {
			if err = check(t); err != nil {
				return store.Tag{}, &store.CorruptError{Where: "the server", Err: err}
			}
		}
		return t, err
	case *protos.ListedRecord_Damaged:
		if is.Damaged == store.ErrTagsLost.Error() {
			return store.Tag{}, &store.CorruptError{Where: "the server", Err: store.ErrTagsLost}
		}
		return store.Tag{}, &store.CorruptError{Where: "the server", Err: errors.New(store.ShortMessage(is.Damaged))}
	case *protos.ListedRecord_Unread:
		return store.Tag{}, &wire.Error{Code: codes.Internal, Text: store.ShortMessage(is.Unread)}
	}
	return store.Tag{}, fmt.Errorf("the server: %s: %w", store.ShortMessage(r.GetNewer()), store.ErrNewer)
}
