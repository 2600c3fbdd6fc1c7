package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/record"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
)

// tagLiar is a server of tags that gives any answer.
type tagLiar struct {
	protos.UnimplementedTagServiceServer
	get  func() (*protos.GetTagResponse, error)
	list func(send func(*protos.ListRecordsResponse) error) error
}

func (l *tagLiar) Get(context.Context, *protos.GetTagRequest) (*protos.GetTagResponse, error) {
	return l.get()
}

func (l *tagLiar) List(_ *protos.ListTagsRequest, stream grpc.ServerStreamingServer[protos.ListRecordsResponse]) error {
	return l.list(stream.Send)
}

func (l *tagLiar) Log(_ *protos.ListLogRequest, stream grpc.ServerStreamingServer[protos.ListRecordsResponse]) error {
	return l.list(stream.Send)
}

// lyingTags returns the tags of a server that lies.
func lyingTags(t *testing.T, l protos.TagServiceServer) (tags, *client) {
	t.Helper()
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8 << 20))
	protos.RegisterTagServiceServer(s, l)
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
	t.Cleanup(c.outbox.close)
	return newTags(c), c
}

// symlinkTag is a tag that needs nothing in a store.
func symlinkTag(name string) store.Tag {
	return store.Tag{Name: name, Root: store.Node{Kind: store.KindSymlink, Target: "x"}, Time: time.Unix(1, 0).UTC()}
}

// encoded returns the record of a tag, with the fields of a later castar.
func encoded(t *testing.T, tag store.Tag, fields string) []byte {
	t.Helper()
	b, err := record.EncodeTag(record.OneLine, tag)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := record.Merge(fields, string(b[33:len(b)-1]))
	if err != nil {
		t.Fatal(err)
	}
	return record.OneLine.Wrap([]byte(sum))
}

func TestHostileTag(t *testing.T) {
	long := symlinkTag("a")
	long.Source = strings.Repeat("x", record.Max)
	for name, tt := range map[string]struct {
		b      []byte
		err    error
		newer  bool
		wanted string
	}{
		"nothing":        {nil, nil, false, "corrupt at the server: not a sealed line"},
		"another tag":    {encoded(t, symlinkTag("b"), ""), nil, false, `tag "b" came for "a"`},
		"not sealed":     {encoded(t, symlinkTag("a"), "")[1:], nil, false, "not a sealed line"},
		"too long":       {encoded(t, symlinkTag("a"), `{"x":"`+strings.Repeat("x", record.Max)+`"}`), nil, false, "want at most"},
		"no root":        {record.OneLine.Wrap([]byte(`{"name":"a"}`)), nil, false, "corrupt"},
		"needs words":    {encoded(t, symlinkTag("a"), `{"needs":["words"]}`), nil, true, "written by a newer castar"},
		"a bad duration": {record.OneLine.Wrap([]byte(`{"name":"a","root":"GgMSAXg=","seconds":-1}`)), nil, false, "corrupt"},
		"damage":         {nil, status.Error(codes.DataLoss, "\x1b[2J"), false, `tag "a": the server cannot read it`},
		"newer":          {nil, status.Error(codes.FailedPrecondition, "written by a newer castar"), true, "newer"},
	} {
		ts, _ := lyingTags(t, &tagLiar{get: func() (*protos.GetTagResponse, error) { return &protos.GetTagResponse{Record: tt.b}, tt.err }})
		got, err := ts.Get(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), tt.wanted) || store.IsNotFound(err) || errors.Is(err, store.ErrNewer) != tt.newer {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, tt.wanted)
		}
	}
}

// A list yields an error for what is wrong, and the rest; one that never ends, ends.
func TestHostileList(t *testing.T) {
	whole := func(name string) *protos.ListedRecord {
		return &protos.ListedRecord{Record: &protos.ListedRecord_Whole{Whole: encoded(t, symlinkTag(name), "")}}
	}
	many := func(all ...*protos.ListedRecord) func(func(*protos.ListRecordsResponse) error) error {
		return func(send func(*protos.ListRecordsResponse) error) error {
			for range 3 {
				if err := send(&protos.ListRecordsResponse{}); err != nil {
					return err
				}
			}
			return send(&protos.ListRecordsResponse{Records: all})
		}
	}
	for name, tt := range map[string]struct {
		list func(func(*protos.ListRecordsResponse) error) error
		tags int
		err  string
	}{
		"in order":      {many(whole("a"), whole("b")), 2, ""},
		"out of order":  {many(whole("b"), whole("a"), whole("c")), 2, `tag "a" came after "b"`},
		"twice":         {many(whole("a"), whole("a")), 1, `tag "a" came after "a"`},
		"without a tag": {many(whole(""), whole("a")), 1, "invalid tag"},
		"of no kind":    {many(&protos.ListedRecord{}, whole("a")), 1, "newer castar"},
		"newer":         {many(&protos.ListedRecord{Record: &protos.ListedRecord_Newer{Newer: "x"}}, whole("a")), 1, "newer castar"},
		"damaged":       {many(&protos.ListedRecord{Record: &protos.ListedRecord_Damaged{Damaged: "x"}}, whole("a")), 1, "corrupt at the server: x"},
		"unread":        {many(&protos.ListedRecord{Record: &protos.ListedRecord_Unread{Unread: "x"}}, whole("a")), 1, "x"},
		"cut off": {func(send func(*protos.ListRecordsResponse) error) error {
			return errors.Join(send(&protos.ListRecordsResponse{Records: []*protos.ListedRecord{whole("a")}}), status.Error(codes.Internal, "broken"))
		}, 1, "broken"},
		"of too many": {func(send func(*protos.ListRecordsResponse) error) (err error) {
			m := &protos.ListRecordsResponse{}
			for range 400 {
				m.Records = append(m.Records, &protos.ListedRecord{})
			}
			for err == nil {
				err = send(m)
			}
			return err
		}, 0, "too many"},
	} {
		ts, _ := lyingTags(t, &tagLiar{list: tt.list})
		ts.most = 1000
		n, last := 0, error(nil)
		for _, err := range ts.All(t.Context()) {
			if err != nil {
				last = err
			} else {
				n++
			}
		}
		if n != tt.tags || (last == nil) != (tt.err == "") || last != nil && !strings.Contains(last.Error(), tt.err) {
			t.Errorf("%s: %d tags, %v, want %d, %q", name, n, last, tt.tags, tt.err)
		}
	}
}

// A server that never answers is an error after a while, and one that only sends empty messages as well.
func TestTagSilence(t *testing.T) {
	release := make(chan struct{})
	ts, c := lyingTags(t, &tagLiar{
		get: func() (*protos.GetTagResponse, error) { <-release; return nil, nil },
		list: func(send func(*protos.ListRecordsResponse) error) (err error) {
			for err == nil {
				time.Sleep(time.Millisecond)
				err = send(&protos.ListRecordsResponse{})
			}
			return err
		},
	})
	defer close(release)
	c.patience = 50 * time.Millisecond
	_, err := ts.Get(t.Context(), "a")
	wantSilence(t, err)
	for _, err = range ts.Log(t.Context()) {
	}
	wantSilence(t, err)
}

// Fields that one side does not know come back from the other.
func TestLaterFields(t *testing.T) {
	st := memory.New()
	remote := New(connect(t, serveStore(t, st, server.Options{AllowPut: true, AllowDelete: true})), "server", "later", "")
	defer remote.Close()
	tag := symlinkTag("a")
	tag.Extra = `{"counts":{"sockets":3},"why":"x"}`
	if err := errors.Join(remote.Tags.Set(t.Context(), tag), remote.Tags.Record(t.Context(), tag)); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]*store.Store{"the server": st, "the client": remote} {
		got, err := of.Tags.Get(t.Context(), "a")
		if err != nil || got.Extra != tag.Extra {
			t.Errorf("%s has %+v, %v", name, got, err)
		}
		for got, err := range of.Tags.Log(t.Context()) {
			if err != nil || got.Extra != tag.Extra {
				t.Errorf("%s has the line %+v, %v", name, got, err)
			}
		}
	}
	conn := protos.NewTagServiceClient(connect(t, serveStore(t, st, server.Options{AllowPut: true})))
	b := encoded(t, symlinkTag("b"), `{"needs":["words"]}`)
	_, setErr := conn.Set(t.Context(), &protos.SetTagRequest{Record: b})
	_, recordErr := conn.Record(t.Context(), &protos.RecordRequest{Record: b})
	for _, err := range []error{setErr, recordErr} {
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "newer castar") {
			t.Errorf("what the server cannot keep whole: %v", err)
		}
	}
}

// Swap changes a tag only if it is what the caller has seen.
func TestSwap(t *testing.T) {
	remote := New(connect(t, serveStore(t, memory.New(), server.Options{AllowPut: true, AllowDelete: true})), "server", "swap", "")
	defer remote.Close()
	swap := func(target string, old *store.Tag) error {
		tag := symlinkTag("a")
		tag.Root.Target = target
		return remote.RemoteTags.Swap(t.Context(), tag, old)
	}
	one, two := symlinkTag("a"), symlinkTag("a")
	two.Root.Target = "two"
	if err := swap("two", &one); !errors.Is(err, store.ErrChanged) {
		t.Errorf("a tag that is not there: %v", err)
	}
	if err := swap("x", nil); err != nil {
		t.Errorf("a new tag: %v", err)
	}
	if err := swap("x", nil); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := swap("two", nil); !errors.Is(err, store.ErrChanged) {
		t.Errorf("a tag that is there: %v", err)
	}
	if err := swap("two", &one); err != nil {
		t.Errorf("the tag that is there: %v", err)
	}
	if err := swap("three", &one); !errors.Is(err, store.ErrChanged) {
		t.Errorf("an older tag: %v", err)
	}
}

// A server of tvix or snix has no tags, and says so in each call.
func TestNoTags(t *testing.T) {
	remote := New(connect(t, serveStore(t, memory.New(), server.Options{AllowPut: true, Upstream: true})), "server", "none", "")
	defer remote.Close()
	if has, err := remote.HasTags(t.Context()); has || err != nil {
		t.Errorf("HasTags: %v, %v", has, err)
	}
	_, gcErr := remote.Collector.Collect(t.Context(), store.CollectOptions{})
	for _, err := range []error{
		remote.Tags.Set(t.Context(), symlinkTag("a")), remote.Tags.Record(t.Context(), symlinkTag("a")), gcErr,
		remote.Tags.Delete(t.Context(), "a"), remote.Tags.Forget(t.Context(), []store.Tag{symlinkTag("a")}),
	} {
		if !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	}
}

// Questions about names cost one call each, and the client need not ask for the package of the server besides.
func TestTagCalls(t *testing.T) {
	st := memory.New()
	for i := range 300 {
		if err := st.Tags.Record(t.Context(), symlinkTag(fmt.Sprint("t", i))); err != nil {
			t.Fatal(err)
		}
	}
	c := new(calls)
	remote := New(connect(t, serveStore(t, st, server.Options{}), c.options()...), "server", "counted", "")
	defer remote.Close()
	for range remote.Tags.Log(t.Context()) {
	}
	remote.Tags.Get(t.Context(), "a")
	if _, err := remote.Directories.Get(t.Context(), store.Sum([]byte("absent"))); !store.IsNotFound(err) {
		t.Error(err)
	}
	if c.n["TagService/Log"] != 1 || c.n["TagService/Get"] != 1 || c.n["DirectoryService/Get"] > 1 || len(c.n) != 3 {
		t.Errorf("calls: %v", c.n)
	}
}

// gcLiar is a server whose gc sends any messages.
type gcLiar struct {
	protos.UnimplementedGcServiceServer
	m []*protos.RunGcResponse
}

func (l *gcLiar) Run(_ *protos.RunGcRequest, stream grpc.ServerStreamingServer[protos.RunGcResponse]) error {
	for _, m := range l.m {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// A gc without a result is an error.
func TestHostileGC(t *testing.T) {
	for _, tt := range []struct {
		m  []*protos.RunGcResponse
		ok bool
	}{
		{[]*protos.RunGcResponse{{Objects: 1}, {Result: []byte(`{"tags":3,"later":{}}`)}}, true},
		{[]*protos.RunGcResponse{{Objects: 1}}, false},
		{nil, false},
		{[]*protos.RunGcResponse{{Result: []byte("x")}}, false},
	} {
		s := grpc.NewServer()
		protos.RegisterGcServiceServer(s, &gcLiar{m: tt.m})
		remote := New(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "server", "x", wire.TvixPackage)
		r, err := remote.Collector.Collect(t.Context(), store.CollectOptions{Progress: new(store.Progress)})
		if (err == nil) != tt.ok || tt.ok && r.Tags != 3 {
			t.Errorf("%v: %+v, %v", tt.m, r, err)
		}
		remote.Close()
	}
}
