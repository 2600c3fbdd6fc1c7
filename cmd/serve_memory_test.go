package cmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
	"castar/store/packed"
	"castar/store/storetest"
)

const (
	// mostServed is how much memory a server may take, whatever its clients do.
	mostServed = 500 << 20
	// promptly is how long an honest client may have to wait on a machine that is overloaded. Otherwise it is a second, and
	// without a turn of its own it would be for ever.
	promptly = time.Minute

	longMessage = 16<<20 - 1024
)

// rawCodec sends messages that are encoded already, without a copy, and leaves those that come as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case [][]byte:
		var all mem.BufferSlice
		for _, b := range v {
			all = append(all, mem.SliceBuffer(b))
		}
		return all, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("%T", v)
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(proto.Message); ok {
		return proto.Unmarshal(data.Materialize(), m)
	}
	return nil
}

// field returns the beginning of a field of n bytes.
func field(number protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), uint64(n))
}

// peakMemory returns the most memory that a process had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("NOT TESTED: how much memory a server takes, for there is no /proc")
	}
	_, after, _ := strings.Cut(string(b), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// crowd is a server and its clients.
type crowd struct {
	t      *testing.T
	served *served
	target string // for gRPC
	raw    func() (net.Conn, error)
	conns  []io.Closer
	blob   store.Digest // a long one that the server has
	wide   store.Digest // a directory with many entries
}

// newCrowd serves a store of its own.
func newCrowd(t *testing.T, overTCP bool, flags ...string) *crowd {
	t.Helper()
	peakMemory(t, os.Getpid()) // skips
	dir := shortDir(t)
	path := filepath.Join(dir, "store")
	st, err := packed.Open(t.Context(), path, packed.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, storetest.Sample(64<<20, 4<<20))
	rand.NewChaCha8([32]byte{1}).Read(data)
	c := &crowd{t: t}
	t.Cleanup(c.leave)
	if c.blob, err = st.Blobs.Put(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	var wide store.Directory
	for i := range storetest.Sample(60_000, 6000) {
		wide = append(wide, store.Node{Name: fmt.Sprintf("a file with the number %06d", i), Kind: store.KindFile, Size: uint64(i)})
	}
	if c.wide, err = st.Directories.Put(t.Context(), wide); err == nil {
		err = st.Sync(t.Context())
	}
	if err == nil {
		err = st.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	address := filepath.Join(dir, "s")
	if overTCP {
		address = "127.0.0.1:0"
	}
	args := append([]string{"-s", path, "serve", "-q", "--allow-put", "-l", address}, flags...)
	c.served = startServe(t, exec.Command("castar", args...))
	network := "unix"
	if overTCP {
		network, address = "tcp", strings.TrimPrefix(c.served.url, "grpc+http://")
	}
	c.target = "passthrough:" + address
	c.raw = func() (net.Conn, error) { return net.Dial(network, address) }
	return c
}

// connect returns a new connection.
func (c *crowd) connect() *grpc.ClientConn {
	c.t.Helper()
	conn, err := grpc.NewClient(c.target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})), grpc.WithStaticStreamWindowSize(64<<10),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return c.raw() }))
	if err != nil {
		c.t.Fatal(err)
	}
	c.conns = append(c.conns, conn)
	return conn
}

// calls begins n calls, which send messages and then do nothing. With many there is a connection for each.
func (c *crowd) calls(n int, many bool, method string, messages ...any) {
	c.t.Helper()
	conn := c.connect()
	for i := range n {
		if many && i > 0 {
			conn = c.connect()
		}
		stream, err := conn.NewStream(c.t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		if err != nil {
			c.t.Fatal(err)
		}
		go func() {
			for _, m := range messages {
				if stream.SendMsg(m) != nil {
					return
				}
			}
		}()
	}
}

// trickle begins n calls on one connection whose messages claim to be long, of which a little comes, and then a byte now
// and then.
func (c *crowd) trickle(n int, method string) {
	c.t.Helper()
	conn, err := c.raw()
	if err != nil {
		c.t.Fatal(err)
	}
	c.conns = append(c.conns, conn)
	go io.Copy(io.Discard, conn)
	var buf bytes.Buffer
	framer := http2.NewFramer(&buf, nil)
	buf.WriteString(http2.ClientPreface)
	framer.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	message := append([]byte{0}, binary.BigEndian.AppendUint32(nil, longMessage)...)
	message = append(message, make([]byte, 10_000)...)
	for i := range n {
		block.Reset()
		for _, h := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "localhost"},
			{"content-type", "application/grpc"}, {"te", "trailers"},
		} {
			enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		id := uint32(2*i + 1)
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
		framer.WriteData(id, false, message)
	}
	go func() {
		for i := 0; ; i++ {
			if _, err := conn.Write(buf.Bytes()); err != nil {
				return
			}
			buf.Reset()
			framer.WriteData(uint32(2*(i%n)+1), false, []byte{0})
			time.Sleep(5 * time.Millisecond)
		}
	}()
}

// leave closes all connections. Otherwise the server would wait for their calls when it is stopped.
func (c *crowd) leave() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// honest has a client of its own store and read.
func (c *crowd) honest(what string) {
	c.t.Helper()
	st := dial(c.t, c.served.url)
	ctx, cancel := context.WithTimeout(c.t.Context(), promptly)
	defer cancel()
	begun := time.Now()
	data := fmt.Appendf(make([]byte, 1<<20), "%s %v", what, begun)
	d, err := st.Blobs.Put(ctx, data)
	if err == nil {
		_, err = st.Directories.Put(ctx, store.Directory{{Name: "a", Kind: store.KindFile, Digest: d}})
	}
	if err == nil {
		err = st.Sync(ctx)
	}
	if err == nil {
		_, err = st.Directories.Get(ctx, c.wide)
	}
	if err != nil {
		c.t.Fatalf("%s: an honest client: %v", what, err)
	}
	wantServed(c.t, st, d, data)
	c.t.Logf("%s: %v, peak %d MB", what, time.Since(begun), peakMemory(c.t, c.served.cmd.Process.Pid)>>20)
}

// peak checks the memory of the server.
func (c *crowd) peak() {
	c.t.Helper()
	if n := peakMemory(c.t, c.served.cmd.Process.Pid); n > mostServed && !storetest.UnderRace {
		c.t.Errorf("the server took %d MB, want at most %d", n>>20, mostServed>>20)
	}
}

// TestServeSilentClients has an honest client served promptly, and the server take a bounded amount of memory, while
// others send long messages and stall, or do not read what they asked for.
func TestServeSilentClients(t *testing.T) {
	n := storetest.Sample(200, 20)
	whole := n / 10 // send all of a message, which takes the server its time
	long := make([]byte, longMessage)
	blob := [][]byte{field(1, len(long)), long}
	for _, overTCP := range []bool{false, true} { // with a connection for each call, and with one for all
		t.Run(fmt.Sprintf("TCP %v", overTCP), func(t *testing.T) {
			c := newCrowd(t, overTCP)
			c.calls(whole, !overTCP, protos.BlobService_Put_FullMethodName, blob)
			c.trickle(n, protos.BlobService_Put_FullMethodName)
			c.honest("stalled Puts")
			c.calls(n, !overTCP, protos.BlobService_Read_FullMethodName, &protos.ReadBlobRequest{Digest: c.blob[:]})
			c.honest("unread Reads")
			if overTCP {
				c.calls(whole, false, protos.DirectoryService_Put_FullMethodName, blob)
				c.calls(whole, false, protos.BulkService_Put_FullMethodName, [][]byte{{1<<3 | 2, 0}, field(3, len(long)), long})
				c.trickle(n, protos.DirectoryService_Put_FullMethodName)
				c.trickle(n, protos.BulkService_Put_FullMethodName)
				c.trickle(n, "/grpc.health.v1.Health/Check")
				c.honest("other uploads")
				c.calls(n/4, false, protos.BlobService_Stat_FullMethodName, &protos.StatBlobRequest{Digest: c.blob[:], SendBao: true, SendChunks: true})
				c.calls(n/4, false, protos.DirectoryService_Get_FullMethodName, &protos.GetDirectoryRequest{
					ByWhat: &protos.GetDirectoryRequest_Digest{Digest: c.wide[:]}, Recursive: true,
				})
				c.calls(n/4, false, protos.BulkService_Get_FullMethodName, &protos.GetBlobsRequest{Digest: c.blob[:]})
				c.honest("other answers")
			}
			c.peak()
			c.leave()
			c.served.stop(t, syscall.SIGTERM)
		})
	}
}

// TestServeManyPuts has many store long blobs at once.
func TestServeManyPuts(t *testing.T) {
	n := storetest.Sample(16, 3)
	c := newCrowd(t, true)
	conn := c.connect()
	piece := make([]byte, longMessage)
	head := field(1, len(piece))
	var puts errgroup.Group
	for range n {
		puts.Go(func() error {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, protos.BlobService_Put_FullMethodName)
			for range 3 {
				if err == nil {
					err = stream.SendMsg([][]byte{head, piece})
				}
			}
			if err == nil || err == io.EOF {
				stream.CloseSend()
				err = stream.RecvMsg(new(protos.PutBlobResponse))
			}
			return err
		})
	}
	if err := puts.Wait(); err != nil {
		t.Error(err)
	}
	c.peak()
}

// TestServeIdle has silent clients cut off although no other client waits.
func TestServeIdle(t *testing.T) {
	c := newCrowd(t, false, "--idle-timeout", "1s")
	conn := c.connect()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, protos.BlobService_Put_FullMethodName)
	if err == nil {
		err = stream.SendMsg([][]byte{field(1, 1), {1}})
	}
	if err == nil {
		err = stream.RecvMsg(new(protos.PutBlobResponse))
	}
	if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), "silent") {
		t.Errorf("a silent Put: %v", err)
	}
}
