package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/record"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// marker is in errors of the store, and no client may see it.
const marker = "secret.example:/place"

// failing is a store whose methods all return the same error.
type failing struct{ err error }

func (f failing) Has(context.Context, store.Digest) (bool, error)             { return false, f.err }
func (f failing) Open(context.Context, store.Digest) (store.Blob, error)      { return nil, f.err }
func (f failing) Chunks(context.Context, store.Digest) ([]store.Chunk, error) { return nil, f.err }
func (f failing) Put(context.Context, []byte) (store.Digest, error)           { return store.Digest{}, f.err }
func (f failing) Create(context.Context) (store.BlobWriter, error)            { return nil, f.err }
func (f failing) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, f.err
}
func (f failing) ChunkSize() int                                          { return 1 << 18 }
func (f failing) Join(context.Context, store.Digest, []store.Chunk) error { return f.err }
func (f failing) Sync(context.Context) error                              { return f.err }
func (failing) Close() error                                              { return nil }
func (f failing) PutGroup(context.Context, []byte, []int, []byte) ([]store.Digest, error) {
	return nil, f.err
}

// failingDirectories is the same for directories.
type failingDirectories struct{ err error }

func (f failingDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, f.err
}
func (f failingDirectories) Put(context.Context, store.Directory) (store.Digest, error) {
	return store.Digest{}, f.err
}
func (f failingDirectories) Upload(context.Context) (store.DirectoryWriter, error) { return nil, f.err }
func (f failingDirectories) Walk(context.Context, store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		if yield(store.NamedDirectory{}, nil) {
			yield(store.NamedDirectory{}, f.err)
		}
	}
}

// failingTags is the same for tags.
type failingTags struct{ err error }

func (f failingTags) Get(context.Context, string) (store.Tag, error)      { return store.Tag{}, f.err }
func (f failingTags) Set(context.Context, store.Tag) error                { return f.err }
func (f failingTags) Delete(context.Context, string) error                { return f.err }
func (f failingTags) Record(context.Context, store.Tag) error             { return f.err }
func (f failingTags) Forget(context.Context, []store.Tag) error           { return f.err }
func (f failingTags) Log(ctx context.Context) iter.Seq2[store.Tag, error] { return f.All(ctx) }
func (f failingTags) All(context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		if yield(store.Tag{}, f.err) {
			yield(store.Tag{}, f.err)
		}
	}
}

// everyCall makes each call of a server once, and returns how they ended, by method.
func everyCall(t *testing.T, conn *grpc.ClientConn) map[string]error {
	ctx, d := t.Context(), make([]byte, 32)
	blob, dir, bulk := protos.NewBlobServiceClient(conn), protos.NewDirectoryServiceClient(conn), protos.NewBulkServiceClient(conn)
	ended := map[string]error{}
	_, ended["Stat"] = blob.Stat(ctx, &protos.StatBlobRequest{Digest: d})
	_, ended["Stat chunks"] = blob.Stat(ctx, &protos.StatBlobRequest{Digest: d, SendChunks: true})
	_, ended["Stat bao"] = blob.Stat(ctx, &protos.StatBlobRequest{Digest: d, SendBao: true})
	read, err := blob.Read(ctx, &protos.ReadBlobRequest{Digest: d})
	if err == nil {
		_, err = read.Recv()
	}
	ended["Read"] = err
	for name, data := range map[string][][]byte{"Put": {{1}}, "Put long": {make([]byte, 1<<20)}, "Put of two": {{1}, {2}}} {
		put, err := blob.Put(ctx)
		for _, b := range data {
			if err == nil {
				put.Send(&protos.BlobChunk{Data: b})
			}
		}
		if err == nil {
			_, err = put.CloseAndRecv()
		}
		ended[name] = err
	}
	for _, recursive := range []bool{false, true} {
		get, err := dir.Get(ctx, &protos.GetDirectoryRequest{
			ByWhat: &protos.GetDirectoryRequest_Digest{Digest: d}, Recursive: recursive,
		})
		for err == nil {
			_, err = get.Recv()
		}
		ended[fmt.Sprintf("Get recursive=%v", recursive)] = err
	}
	put, err := dir.Put(ctx)
	if err == nil {
		put.Send(&protos.Directory{})
		_, err = put.CloseAndRecv()
	}
	ended["Put directory"] = err
	_, ended["bulk Has"] = bulk.Has(ctx, &protos.HasBlobsRequest{Digests: [][]byte{d}})
	_, ended["bulk Get"] = bulk.Get(ctx, &protos.GetBlobsRequest{Digest: d})
	_, ended["bulk Put"] = bulk.Put(ctx, &protos.PutBlobsRequest{Sizes: []uint64{1}, Contents: &protos.PutBlobsRequest_Plain{Plain: []byte{1}}})
	join, err := bulk.Join(ctx)
	if err == nil {
		join.Send(&protos.JoinBlobRequest{Digest: d, Chunks: [][]byte{d}, Sizes: []uint64{1}})
		_, err = join.CloseAndRecv()
	}
	ended["Join"] = err
	tags := protos.NewTagServiceClient(conn)
	line, err := record.EncodeTag(record.OneLine, store.Tag{Name: "a", Root: store.Node{Kind: store.KindSymlink, Target: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	_, ended["tags Get"] = tags.Get(ctx, &protos.GetTagRequest{Name: "a"})
	_, ended["tags Set"] = tags.Set(ctx, &protos.SetTagRequest{Record: line})
	_, ended["tags MaySet"] = tags.MaySet(ctx, &protos.MaySetTagRequest{Name: "a"})
	_, ended["tags Delete"] = tags.Delete(ctx, &protos.DeleteTagRequest{Name: "a"})
	_, ended["tags Record"] = tags.Record(ctx, &protos.RecordRequest{Record: line})
	_, ended["tags Forget"] = tags.Forget(ctx, &protos.ForgetRequest{Records: [][]byte{line}})
	all := func(list grpc.ServerStreamingClient[protos.ListRecordsResponse], err error) error {
		for err == nil {
			var m *protos.ListRecordsResponse
			if m, err = list.Recv(); strings.Contains(m.String(), marker) {
				t.Errorf("the client is told %v", m)
			}
		}
		if err == io.EOF {
			return nil
		}
		return err
	}
	ended["tags List"] = all(tags.List(ctx, &protos.ListTagsRequest{}))
	ended["tags Log"] = all(tags.Log(ctx, &protos.ListLogRequest{}))
	gc, err := protos.NewGcServiceClient(conn).Run(ctx, &protos.RunGcRequest{})
	for err == nil {
		_, err = gc.Recv()
	}
	ended["gc"] = err
	return ended
}

// The error of no call names a path or a host. The log does.
func TestErrorsNameNoPath(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: marker, Err: syscall.EACCES}
	for name, err := range map[string]error{
		"permission": path, "not found": fmt.Errorf("%s: %w", marker, store.ErrNotFound),
		"no space": &fs.PathError{Op: "write", Path: marker, Err: syscall.ENOSPC}, "locked": fmt.Errorf("%s: %w", marker, store.ErrLocked),
		"read-only": fmt.Errorf("%s: %w", marker, store.ErrReadOnly), "gone": fmt.Errorf("%s: %w", marker, store.ErrNoStore),
		"damage":        &store.CorruptError{Digest: store.Digest{1}, Where: marker, Err: path},
		"damage of two": errors.Join(path, &store.CorruptError{Where: marker, Err: fmt.Errorf("%s: %w", marker, store.ErrDigestMismatch)}),
		"a proxy":       &wire.Error{Code: codes.Unavailable, Text: "dial " + marker}, "a status": status.Error(codes.Unknown, marker),
		"unsupported": fmt.Errorf("%s: %w", marker, store.ErrUnsupported), "a mismatch": fmt.Errorf("%s: %w", marker, store.ErrDigestMismatch),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			f := failing{err}
			s, nerr := New(&store.Store{Blobs: f, Directories: failingDirectories{err}, Tags: failingTags{err}, Barrier: f}, Options{
				AllowPut: true, AllowDelete: true, CheckRoots: true,
				Collect: func(context.Context, *store.Store, store.CollectOptions) (store.CollectResult, error) {
					return store.CollectResult{}, err
				},
				OpenExclusive: func(context.Context) (*store.Store, error) {
					return &store.Store{Tags: failingTags{err}, Barrier: failing{nil}}, nil
				},
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			if nerr != nil {
				t.Fatal(nerr)
			}
			l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
			ended := everyCall(t, rpctest.Connect(t, l))
			for call, err := range ended {
				if err != nil && strings.Contains(err.Error(), marker) {
					t.Errorf("%s: the client is told %v", call, err)
				}
			}
			if status.Code(ended["Stat"]) == codes.OK || status.Code(ended["Put long"]) == codes.OK {
				t.Errorf("Stat: %v; Put: %v", ended["Stat"], ended["Put long"])
			}
			s.Shutdown(t.Context())
			if !strings.Contains(log.String(), marker) {
				t.Errorf("the log does not say where:\n%s", &log)
			}
		})
	}
}
