package server

import (
	"context"
	"errors"
	"iter"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
	"castar/store/record"
	"castar/store/rpc/internal/wire"
)

const (
	// recordMessage is the length of the longest message with records that is taken, in bytes.
	recordMessage = 2*record.Max + askedMessage
	// recordsSize is the length, in bytes, at which a message of a list is full.
	recordsSize = 64 << 10
)

// tagServer implements TagService over a store.
type tagServer struct {
	protos.UnimplementedTagServiceServer
	s        *Server
	changing sync.Mutex // held while a tag is looked at and changed
}

// tags returns the tags of the store.
func (ts *tagServer) tags(ctx context.Context) (store.Tags, error) {
	if storeOf(ctx).Tags == nil {
		return nil, refusef(codes.Unimplemented, "tags: %v", store.ErrUnsupported)
	}
	return storeOf(ctx).Tags, nil
}

// Get returns a tag, or nothing if none is asked for.
func (ts *tagServer) Get(ctx context.Context, req *protos.GetTagRequest) (*protos.GetTagResponse, error) {
	tags, err := ts.tags(ctx)
	if err == nil && storeOf(ctx).RemoteTags != nil && req.GetName() == "" {
		_, err = storeOf(ctx).HasTags(ctx)
	}
	if err != nil || req.GetName() == "" {
		return &protos.GetTagResponse{}, err
	}
	t, err := tags.Get(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	b, err := record.EncodeTag(record.OneLine, t)
	return &protos.GetTagResponse{Record: b}, err
}

// Set sets a tag.
func (ts *tagServer) Set(ctx context.Context, req *protos.SetTagRequest) (*protos.SetTagResponse, error) {
	tags, t, err := ts.sent(ctx, req.GetRecord(), req.GetInstance())
	if err != nil {
		return nil, err
	}
	if err := store.ValidateTag(t.Name); err != nil {
		return nil, invalidf("%v", err)
	}
	ts.changing.Lock()
	defer ts.changing.Unlock()
	old, err := tags.Get(ctx, t.Name)
	switch {
	case store.IsNotFound(err):
		if len(req.GetExpected()) > 0 {
			return nil, changed(t.Name)
		}
	case errors.Is(err, store.ErrNewer) || ctx.Err() != nil:
		return nil, err
	case err == nil && store.AmongTags([]store.Tag{old})(t): // perhaps the answer to the same call was lost
		return &protos.SetTagResponse{}, nil
	case req.Expected != nil && (err != nil || !isRecord(old, req.GetExpected())):
		return nil, changed(t.Name)
	default: // a tag that cannot be read is replaced like any other
		if err := mayDelete(ctx, movingTag); err != nil {
			return nil, err
		}
	}
	if err = tags.Set(ctx, t); err == nil {
		ts.s.opened.named(callOf(ctx).a)
	}
	return &protos.SetTagResponse{}, err
}

// MaySet says whether Set would be allowed if the tag moved.
func (ts *tagServer) MaySet(ctx context.Context, req *protos.MaySetTagRequest) (*protos.MaySetTagResponse, error) {
	tags, err := ts.tags(ctx)
	if err == nil {
		err = ts.s.hasPut(ctx)
	}
	if err == nil {
		err = mayName(ctx, req.GetName())
	}
	if err != nil {
		return nil, err
	}
	_, err = tags.Get(ctx, req.GetName())
	switch {
	case store.IsNotFound(err):
		err = nil
	case errors.Is(err, store.ErrNewer) || ctx.Err() != nil:
	default:
		err = mayDelete(ctx, movingTag)
	}
	return &protos.MaySetTagResponse{}, err
}

// movingTag is what a client does that changes a tag.
const movingTag = "moving a tag that exists"

// changed is the error for a tag that is not what a client expects.
func changed(name string) error {
	return refusef(codes.AlreadyExists, "tag %q: %v", name, store.ErrChanged)
}

// isRecord reports whether a record is that of a tag.
func isRecord(t store.Tag, b []byte) bool {
	of, err := record.DecodeTag(record.OneLine, b)
	return err == nil && store.AmongTags([]store.Tag{t})(of)
}

// sentRecord returns the tag or line that a client sent.
func sentRecord(b []byte) (store.Tag, error) {
	if len(b) > record.Max {
		return store.Tag{}, invalidf("a record of %d bytes, want at most %d", len(b), record.Max)
	}
	t, err := record.DecodeTag(record.OneLine, b)
	if err == nil {
		err = t.Validate()
	}
	switch {
	case errors.Is(err, store.ErrNewer): // it could not be stored whole
		return t, refusef(codes.FailedPrecondition, "%v than this server", err)
	case err != nil:
		return t, invalidf("invalid record: %v", err)
	}
	return t, nil
}

// sent returns the tag or line that a client sent and may store, and the tags of the store.
func (ts *tagServer) sent(ctx context.Context, b []byte, instance string) (tags store.Tags, t store.Tag, err error) {
	if tags, err = ts.tags(ctx); err == nil {
		t, err = sentRecord(b)
	}
	if err == nil {
		err = ts.mayRecord(ctx, t, instance)
	}
	return tags, t, err
}

// mayRecord refuses a tag or a line of the log that the client may not store.
func (ts *tagServer) mayRecord(ctx context.Context, t store.Tag, instance string) error {
	if err := ts.s.hasPut(ctx); err != nil {
		return err
	}
	if t.Name != "" {
		if err := mayName(ctx, t.Name); err != nil {
			return err
		}
	}
	if instance != "" && instance != callOf(ctx).at.instance.Get(wire.InstanceHeader)[0] {
		return refusef(codes.Aborted, "what was stored may be gone, because the server has restarted or collected garbage: store it again")
	}
	if !ts.s.o.CheckRoots {
		return nil
	}
	return ts.checkRoot(ctx, t)
}

// checkRoot refuses a tag or line whose root or listing is missing: gc would refuse to work for everybody.
func (ts *tagServer) checkRoot(ctx context.Context, t store.Tag) error {
	st, blobs := storeOf(ctx), []store.Digest{}
	if t.Listing != (store.Digest{}) {
		blobs = append(blobs, t.Listing)
	}
	switch t.Root.Kind {
	case store.KindFile:
		blobs = append(blobs, t.Root.Digest)
	case store.KindDirectory:
		if _, err := st.Directories.Get(ctx, t.Root.Digest); err != nil {
			return missing("directory", t.Root.Digest, err)
		}
	}
	for _, d := range blobs {
		if has, err := st.Blobs.Has(ctx, d); err != nil || !has {
			return missing("blob", d, err)
		}
	}
	return nil
}

// missing is the error for a root or listing that is not there, or why that is not known.
func missing(what string, d store.Digest, err error) error {
	if err != nil && !store.IsNotFound(err) {
		return about(what, d, err)
	}
	return refusef(codes.FailedPrecondition, "%s %s: the server does not have it", what, d)
}

// Delete removes a tag.
func (ts *tagServer) Delete(ctx context.Context, req *protos.DeleteTagRequest) (*protos.DeleteTagResponse, error) {
	tags, err := ts.tags(ctx)
	if err == nil {
		err = mayDelete(ctx, "deleting a tag")
	}
	if err == nil {
		err = mayName(ctx, req.GetName())
	}
	if err != nil {
		return nil, err
	}
	ts.changing.Lock()
	defer ts.changing.Unlock()
	return &protos.DeleteTagResponse{}, tags.Delete(ctx, req.GetName())
}

// Record adds a line to the log.
func (ts *tagServer) Record(ctx context.Context, req *protos.RecordRequest) (*protos.RecordResponse, error) {
	tags, t, err := ts.sent(ctx, req.GetRecord(), req.GetInstance())
	if err != nil {
		return nil, err
	}
	if err = tags.Record(ctx, t); err == nil {
		ts.s.opened.named(callOf(ctx).a)
	}
	return &protos.RecordResponse{}, err
}

// Forget removes lines of the log.
func (ts *tagServer) Forget(ctx context.Context, req *protos.ForgetRequest) (*protos.ForgetResponse, error) {
	if err := mayDelete(ctx, "forgetting an ingest"); err != nil {
		return nil, err
	}
	var lines []store.Tag
	for _, b := range req.GetRecords() {
		t, err := sentRecord(b)
		if err == nil {
			err = mayName(ctx, t.Name)
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, t)
	}
	return &protos.ForgetResponse{}, ts.forget(ctx, lines)
}

// forget removes lines of the log from a store that may have to be locked for that.
func (ts *tagServer) forget(ctx context.Context, lines []store.Tag) error {
	if ts.s.o.OpenExclusive == nil {
		at, err := ts.s.opened.use(ctx)
		if err != nil {
			return err
		}
		defer ts.s.opened.done(at)
		if at.st.Tags == nil {
			return store.ErrUnsupported
		}
		return at.st.Tags.Forget(ctx, lines)
	}
	err := ts.s.opened.exclusively(ctx, 0, func(st *store.Store) error { return st.Tags.Forget(ctx, lines) })
	if errors.Is(err, store.ErrLocked) {
		return refusef(codes.FailedPrecondition, "%v", store.ErrLocked)
	}
	return err
}

// List sends all tags.
func (ts *tagServer) List(_ *protos.ListTagsRequest, stream grpc.ServerStreamingServer[protos.ListRecordsResponse]) error {
	return ts.send(stream, "a tag", store.Tags.All)
}

// Log sends the log.
func (ts *tagServer) Log(_ *protos.ListLogRequest, stream grpc.ServerStreamingServer[protos.ListRecordsResponse]) error {
	return ts.send(stream, "a line of the log", store.Tags.Log)
}

// send sends tags or lines, many in each message. what is one of them.
func (ts *tagServer) send(
	stream grpc.ServerStreamingServer[protos.ListRecordsResponse], what string,
	all func(store.Tags, context.Context) iter.Seq2[store.Tag, error],
) error {
	tags, err := ts.tags(stream.Context())
	if err != nil {
		return err
	}
	if err := callOf(stream.Context()).take(makers, 1); err != nil {
		return err
	}
	resp, size := new(protos.ListRecordsResponse), 0
	for t, err := range all(tags, stream.Context()) {
		if err != nil && (stream.Context().Err() != nil || errors.Is(err, store.ErrUnsupported)) {
			return err
		}
		if err != nil {
			ts.s.o.Log.Warn("unread", "what", what, "error", err)
		}
		r := listed(what, t, err)
		resp.Records, size = append(resp.Records, r), size+proto.Size(r)
		if size < recordsSize {
			continue
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		if err := callOf(stream.Context()).take(makers, 1); err != nil {
			return err
		}
		resp, size = new(protos.ListRecordsResponse), 0
	}
	if size == 0 {
		return nil
	}
	return stream.Send(resp)
}

// listed returns what a list says of a tag or line, or of why it cannot be read. Errors may name folders and hosts, so they
// stay here.
func listed(what string, t store.Tag, err error) *protos.ListedRecord {
	var b []byte
	if err == nil {
		if b, err = record.EncodeTag(record.OneLine, t); err == nil {
			return &protos.ListedRecord{Record: &protos.ListedRecord_Whole{Whole: b}}
		}
	}
	_, text := reason(err)
	switch {
	case errors.Is(err, store.ErrTagsLost):
		return &protos.ListedRecord{Record: &protos.ListedRecord_Damaged{Damaged: store.ErrTagsLost.Error()}}
	case errors.Is(err, store.ErrNewer):
		return &protos.ListedRecord{Record: &protos.ListedRecord_Newer{Newer: what}}
	case store.IsCorrupt(err):
		return &protos.ListedRecord{Record: &protos.ListedRecord_Damaged{Damaged: what + " that the server cannot read"}}
	}
	return &protos.ListedRecord{Record: &protos.ListedRecord_Unread{Unread: what + ": " + text}}
}
