package bigtable

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/bigtable/bttest"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

var config = Config{Project: "p", Instance: "i", Table: "t", Family: "f.1"}

// emulator starts Google's emulator, with a table, and returns its address.
func emulator(t *testing.T) string {
	t.Helper()
	srv, err := bttest.NewServer("127.0.0.1:0", grpc.MaxRecvMsgSize(maxMessage))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	admin := adminpb.NewBigtableTableAdminClient(dial(t, srv.Addr))
	_, err = admin.CreateTable(t.Context(), &adminpb.CreateTableRequest{
		Parent: "projects/p/instances/i", TableId: config.Table,
		Table: &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{config.Family: {}, "other": {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return srv.Addr
}

func dial(t *testing.T, target string, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(o, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func open(t *testing.T, c Config) *store.Store {
	t.Helper()
	st, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// Blobs come from memory. Each store has its own emulator.
func TestStore(t *testing.T) {
	storetest.RunDirectories(t, func(t *testing.T) *store.Store {
		t.Setenv(emulatorVariable, emulator(t))
		st, err := Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		st.Blobs, st.ID = memory.New().Blobs, memory.New().ID
		return st
	})
}

func TestLayout(t *testing.T) {
	addr := emulator(t)
	t.Setenv(emulatorVariable, addr)
	st := open(t, config)
	client := bigtablepb.NewBigtableClient(dial(t, addr))
	dir := store.Directory{{Name: "x", Kind: store.KindSymlink, Target: "y"}}
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.ReadRows(t.Context(), &bigtablepb.ReadRowsRequest{TableName: config.name()})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil || len(resp.GetChunks()) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	want, err := store.EncodeDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := resp.GetChunks()[0]
	got := []string{string(c.GetRowKey()), c.GetFamilyName().GetValue(), string(c.GetQualifier().GetValue()), string(c.GetValue())}
	if diff := cmp.Diff([]string{d.String(), config.Family, d.String(), string(want)}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("more rows: %v", err)
	}
}

// set writes a cell that the store itself would not write.
func set(t *testing.T, addr, row, family, column, value string, micros int64) {
	t.Helper()
	cell := &bigtablepb.Mutation_SetCell{FamilyName: family, ColumnQualifier: []byte(column), Value: []byte(value), TimestampMicros: micros}
	_, err := bigtablepb.NewBigtableClient(dial(t, addr)).MutateRow(t.Context(), &bigtablepb.MutateRowRequest{
		TableName: config.name(), RowKey: []byte(row), Mutations: []*bigtablepb.Mutation{{Mutation: &bigtablepb.Mutation_SetCell_{SetCell: cell}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatIsThere(t *testing.T) {
	addr := emulator(t)
	t.Setenv(emulatorVariable, addr)
	st := open(t, config)
	named := func(name string) (store.Digest, string) {
		b, err := store.EncodeDirectory(store.Directory{{Name: name, Kind: store.KindSymlink, Target: "y"}})
		if err != nil {
			t.Fatal(err)
		}
		return store.Sum(b), string(b)
	}
	corrupt := func(err error) bool { _, ok := errors.AsType[*store.CorruptError](err); return ok }
	d, value := named("a")
	set(t, addr, d.String(), config.Family, d.String(), "wrong", 1000)
	if _, err := st.Directories.Get(t.Context(), d); !corrupt(err) || !errors.Is(err, store.ErrDigestMismatch) {
		t.Errorf("wrong bytes: error %v", err)
	}
	set(t, addr, d.String(), config.Family, d.String(), value, 2000)
	set(t, addr, d.String(), config.Family, "zzz", "of others", 3000)
	set(t, addr, d.String(), "other", d.String(), "of others", 3000)
	if dir, err := st.Directories.Get(t.Context(), d); err != nil || len(dir) != 1 {
		t.Errorf("the latest version: %v, %v", dir, err)
	}
	d, value = named("b")
	set(t, addr, d.String(), "other", d.String(), value, 1000)
	set(t, addr, d.String(), config.Family, "zzz", value, 1000)
	if _, err := st.Directories.Get(t.Context(), d); !store.IsNotFound(err) {
		t.Errorf("another column: error %v", err)
	}
	invalid := "\x08\x01"
	d = store.Sum([]byte(invalid))
	set(t, addr, d.String(), config.Family, d.String(), invalid, 1000)
	if _, err := st.Directories.Get(t.Context(), d); !corrupt(err) {
		t.Errorf("no directory: error %v", err)
	}
	for _, err := range st.Directories.Walk(t.Context(), d) {
		if !corrupt(err) {
			t.Errorf("no directory: Walk: error %v", err)
		}
	}
}

// Large directories need more than one answer.
func TestWalkCutOff(t *testing.T) {
	t.Setenv(emulatorVariable, emulator(t))
	c := config
	c.Timeout = time.Minute
	st := open(t, c)
	const entries = 100
	st.Directories.(directories).t.most = 2 * entries * 4000 // bytes, of five directories
	var root store.Directory
	for i := range 5 {
		var dir store.Directory
		for j := range entries {
			name := strings.Repeat("n", 200) + string(rune('0'+i)) + string(rune(0x4000+j))
			dir = append(dir, store.Node{Name: name, Kind: store.KindSymlink, Target: strings.Repeat("t", 4000)})
		}
		d, err := st.Directories.Put(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		root = append(root, store.Node{Name: string(rune('0' + i)), Kind: store.KindDirectory, Digest: d, Size: entries})
	}
	d, err := st.Directories.Put(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range st.Directories.Walk(t.Context(), d) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 6 {
		t.Errorf("%d directories, want 6", n)
	}
}

func TestReadOnly(t *testing.T) {
	t.Setenv(emulatorVariable, emulator(t))
	c := config
	c.ReadOnly = true
	st := open(t, c)
	if _, err := st.Directories.Put(t.Context(), nil); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Put: error %v", err)
	}
	if _, err := st.Directories.Upload(t.Context()); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Upload: error %v", err)
	}
	if _, err := st.Directories.Get(t.Context(), store.Sum(nil)); !store.IsNotFound(err) {
		t.Errorf("Get: error %v", err)
	}
}

// A missing table does not mean that a directory is missing.
func TestNoTable(t *testing.T) {
	t.Setenv(emulatorVariable, emulator(t))
	c := config
	c.Table = "none"
	st := open(t, c)
	_, getErr := st.Directories.Get(t.Context(), store.Sum(nil))
	_, putErr := st.Directories.Put(t.Context(), nil)
	for _, err := range []error{getErr, putErr} {
		if err == nil || store.IsNotFound(err) || !strings.Contains(err.Error(), "bigtable i/none: ") {
			t.Errorf("error %v", err)
		}
	}
}

// The error of a server that cannot be reached, or does not know the caller, names the server and why.
func TestServerNamed(t *testing.T) {
	t.Setenv(emulatorVariable, "127.0.0.1:1")
	_, err := open(t, config).Directories.Get(t.Context(), store.Sum(nil))
	if want := "bigtable i/t at 127.0.0.1:1: connection refused"; !store.IsServerError(err) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	st := serve(t, &flaky{fail: func(int64) error { return status.Error(codes.Unauthenticated, "who are you?") }}, config)
	_, err = st.Directories.Get(t.Context(), store.Sum(nil))
	if want := "bigtable i/t at passthrough:buf: who are you?"; !store.IsServerError(err) || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	for text, want := range map[string]string{
		`name resolver error: dns: A record lookup error: lookup h on 1.1.1.1:53: no such host`:                          "lookup h on 1.1.1.1:53: no such host",
		`connection error: desc = "transport: authentication handshake failed: tls: first record does not look like it"`: "authentication handshake failed: tls: first record does not look like it",
		"later": "later",
	} {
		if got := plain(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		c    Config
		want string
	}{
		{config, ""},
		{Config{Instance: "i"}, "missing project_id and table_name and family_name"},
		{Config{Project: "p", Instance: "i", Table: "t", Family: "f", Channels: -1}, "channel_size -1: want 1 to 1000"},
		{Config{Project: "p", Instance: "i", Table: "t", Family: "f", Timeout: -1}, "negative timeout"},
	}
	for _, tt := range tests {
		got := ""
		if err := tt.c.Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: error %q, want %q", tt.c, got, tt.want)
		}
	}
}

// flaky is a service that fails.
type flaky struct {
	bigtablepb.UnimplementedBigtableServer
	calls atomic.Int64
	fail  func(call int64) error
	send  []*bigtablepb.ReadRowsResponse_CellChunk
}

func (f *flaky) ReadRows(_ *bigtablepb.ReadRowsRequest, stream bigtablepb.Bigtable_ReadRowsServer) error {
	if f.fail != nil {
		if err := f.fail(f.calls.Add(1)); err != nil {
			return err
		}
	}
	return stream.Send(&bigtablepb.ReadRowsResponse{Chunks: f.send})
}

// serve returns the store at a service.
func serve(t *testing.T, f *flaky, c Config) *store.Store {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	bigtablepb.RegisterBigtableServer(srv, f)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	conn := dial(t, "passthrough:buf", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	return New([]*grpc.ClientConn{conn}, c)
}

func TestRetries(t *testing.T) {
	f := &flaky{fail: func(call int64) error {
		if call < 3 {
			return status.Error(codes.Unavailable, "later")
		}
		return nil
	}}
	st := serve(t, f, config)
	if _, err := st.Directories.Get(t.Context(), store.Sum(nil)); !store.IsNotFound(err) || f.calls.Load() != 3 {
		t.Errorf("error %v after %d calls", err, f.calls.Load())
	}
	f.fail = func(int64) error { return status.Error(codes.PermissionDenied, "no") }
	before := f.calls.Load()
	if _, err := st.Directories.Get(t.Context(), store.Sum(nil)); err == nil || err.Error() != "bigtable i/t: no" || f.calls.Load() != before+1 {
		t.Errorf("error %v after %d calls", err, f.calls.Load()-before)
	}
}

func chunk(key, column, value string, size int32, commit bool) *bigtablepb.ReadRowsResponse_CellChunk {
	c := &bigtablepb.ReadRowsResponse_CellChunk{RowKey: []byte(key), Value: []byte(value), ValueSize: size}
	if column != "" {
		c.Qualifier = wrapperspb.Bytes([]byte(column))
	}
	if commit {
		c.RowStatus = &bigtablepb.ReadRowsResponse_CellChunk_CommitRow{CommitRow: true}
	}
	return c
}

func TestMerger(t *testing.T) {
	reset := &bigtablepb.ReadRowsResponse_CellChunk{RowStatus: &bigtablepb.ReadRowsResponse_CellChunk_ResetRow{ResetRow: true}}
	type chunks = []*bigtablepb.ReadRowsResponse_CellChunk
	tests := []struct {
		name   string
		chunks chunks
		rows   string
		want   string
	}{
		{"nothing", nil, "", ""},
		{"rows", chunks{chunk("a", "a", "1", 0, true), chunk("b", "b", "2", 0, true)}, "a=1 b=2", ""},
		{"an empty value", chunks{chunk("a", "a", "", 0, true)}, "a=", ""},
		{"a value in pieces", chunks{chunk("a", "a", "1", 3, false), chunk("", "", "2", 3, false), chunk("", "", "3", 0, true)}, "a=123", ""},
		{"several cells", chunks{chunk("a", "x", "1", 0, false), chunk("", "a", "2", 0, false), chunk("", "", "old", 0, false), chunk("", "y", "3", 0, true)}, "a=2", ""},
		{"no such cell", chunks{chunk("a", "x", "1", 0, true)}, "", ""},
		{"reset", chunks{chunk("a", "a", "1", 2, false), reset, chunk("a", "a", "2", 0, true)}, "a=2", ""},
		{"no row", chunks{chunk("", "a", "1", 0, true)}, "", "a cell without a row"},
		{"no commit", chunks{chunk("a", "a", "1", 0, false), chunk("b", "b", "1", 0, true)}, "", `row "a" is not ended`},
		{"cut off", chunks{chunk("a", "a", "1", 0, false)}, "", `ends within row "a"`},
		{"half a value", chunks{chunk("a", "a", "1", 2, true)}, "", `row "a" ends within a value`},
		{"endless", chunks{chunk("a", "a", "1", maxCell+1, false)}, "", "a value of more than 10485760 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var rows []string
			m := merger{row: func(key string, value []byte) { rows = append(rows, key+"="+string(value)) }}
			var err error
			for _, c := range tt.chunks {
				if err = m.add(c); err != nil {
					break
				}
			}
			if err == nil {
				err = m.end()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if got := strings.Join(rows, " "); got != tt.rows {
				t.Errorf("rows %q, want %q", got, tt.rows)
			}
		})
	}
	st := serve(t, &flaky{send: chunks{chunk("", "a", "1", 0, true)}}, config)
	if _, err := st.Directories.Get(t.Context(), store.Sum(nil)); !errors.Is(err, errProtocol) {
		t.Errorf("error %v", err)
	}
}
