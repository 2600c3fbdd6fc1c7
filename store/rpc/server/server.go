// Package server serves a store over gRPC, as castore's BlobService and DirectoryService, and as castar's own
// BulkService. Package rpc is the client, and says what answers mean.
//
//	s, err := server.New(st, server.Options{AllowPut: true, Log: log})
//	...
//	go func() { failed <- s.Serve(listener) }()
//	...
//	err = s.Shutdown(ctx) // waits for running calls, and makes what they stored durable
//	err = st.Close()
//
// What happens to a blob that a client puts, and to one that it reads:
//
//	client ── Put ──▶ slot ──▶ message, counted ──▶ Blobs.Put, or Create for a long one ──▶ digest
//	                  (limits.go)  (message.go)     (blobs.go, bulk.go)                     durable later (sync.go)
//	client ◀── Read ── message, counted until it is on the wire ◀── Blobs.Open
//
// Clients are not trusted. Each message is counted before it is read, so memory is bounded whatever clients send. Clients
// that neither send nor read are cut off while others wait for what they hold. Errors tell the client no paths and
// hosts; the log has them.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

// Options say what a server allows. The zero value is a server that anybody may read from.
type Options struct {
	AllowPut bool // let clients store, and set new tags; otherwise that fails with PermissionDenied
	// AllowDelete lets clients move and delete tags, forget ingests, and collect garbage.
	AllowDelete bool
	MaxMessage  int           // length of the longest message taken, in bytes, also when decompressed; 0 for DefaultMaxMessage
	MaxStreams  int           // calls served at once, without uploads of directories; others wait; 0 for DefaultMaxStreams
	Memory      int64         // bytes of messages and answers of all clients together; 0 for DefaultMemory
	Idle        time.Duration // how long a client may be silent in the middle of a call; 0 for DefaultIdle
	TLS         *tls.Config   // nil: speak in the clear
	// Tokens are what clients show in the header authorization: Bearer TOKEN. Each has rights, which the two above bound.
	// nil: clients show nothing.
	Tokens     *Tokens
	CheckRoots bool // refuse tags, and lines of the log, whose root or listing the store lacks
	// Reopen opens the store again after it could not write, so that clients may store again. nil: they may not. It is
	// called while the store is still open for running calls.
	Reopen func(context.Context) (*store.Store, error)
	// Collect collects garbage in a store that is open exclusively, unless it is a dry run. nil: no gc for clients.
	Collect func(context.Context, *store.Store, store.CollectOptions) (store.CollectResult, error)
	// OpenExclusive opens the store exclusively, for Collect, and to forget. nil: not for this kind of store.
	OpenExclusive func(context.Context) (*store.Store, error)
	// Locks says that OpenExclusive needs the store to be closed, and that other processes may want to lock it too. Then the
	// server closes it while nobody uses it, and opens it by Reopen.
	Locks    bool
	Upstream bool          // offer only the services that tvix and snix have too
	linger   time.Duration // for tests: other than defaultLinger
	Log      *slog.Logger  // gets each call at level debug, failed ones at warn; nil: no log
}

const (
	// DefaultMaxMessage admits directories of a quarter of a million entries.
	DefaultMaxMessage = 16 << 20
	// DefaultMaxStreams is more than clients on one machine use.
	DefaultMaxStreams = 256
	// DefaultMemory lets several clients send messages of the greatest length at once.
	DefaultMemory = 256 << 20
	// LeastMemory is the least value of Options.Memory, in bytes.
	LeastMemory = 16 << 20
	// DefaultIdle is longer than a working client ever needs.
	DefaultIdle = 2 * time.Minute

	// moreStreams is how many calls one connection may have open besides those being served.
	moreStreams = 100
	// streamWorkers is how many goroutines serve calls one after the other; their stacks have grown already.
	streamWorkers = 64
	// streamWindow is how much a client may send on a call before the server reads a message. Then it may send as much as
	// is read at once, so what nobody asked for stays with the client.
	streamWindow = 64 << 10
	// connWindow is how much a client may send on all calls of a connection.
	connWindow = 16 << 20
	// readBuffer and writeBuffer are how much of a connection is read and written at once.
	readBuffer  = 64 << 10
	writeBuffer = 128 << 10
	// connectTime is how long a client may take to agree on TLS and HTTP/2.
	connectTime = 20 * time.Second
	// maxHeaders is how long the headers of a call may be, in bytes. They stay in memory until the call ends.
	maxHeaders = 64 << 10
)

// Server offers a store to clients. Its methods may be called concurrently.
type Server struct {
	o       Options
	grpc    *grpc.Server
	health  *health.Server
	opened  *openings
	metrics metrics
	limits  *limits
	pool    *wire.Buffers

	collecting sync.Mutex // held during a gc
}

// New makes a server for st. With Options.Reopen, Shutdown closes st. Otherwise the caller closes it after the server has
// stopped. The error is one of the program: a schema that does not fit it.
func New(st *store.Store, o Options) (*Server, error) {
	o.MaxMessage = cmp.Or(max(o.MaxMessage, 0), DefaultMaxMessage)
	o.MaxStreams = cmp.Or(max(o.MaxStreams, 0), DefaultMaxStreams)
	o.Memory = cmp.Or(max(o.Memory, 0), DefaultMemory)
	o.linger = cmp.Or(o.linger, defaultLinger)
	o.Idle = cmp.Or(max(o.Idle, 0), DefaultIdle)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		o: o, health: health.NewServer(), limits: newLimits(o, st.Groups != nil), pool: new(wire.Buffers),
		metrics: metrics{calls: map[outcome]callCount{}},
	}
	s.opened = newOpenings(s, st)
	s.grpc = grpc.NewServer(s.grpcOptions()...)
	register := func(desc *grpc.ServiceDesc, impl any) {
		s.grpc.RegisterService(asStreams(*desc), impl)
		s.health.SetServingStatus(desc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		register(wire.Under(pkg, protos.BlobService_ServiceDesc), &blobServer{s: s})
		register(wire.Under(pkg, protos.DirectoryService_ServiceDesc), &directoryServer{s: s})
	}
	if !o.Upstream {
		decoder, err := zstd.NewDecoder(runtime.GOMAXPROCS(0))
		if err != nil {
			return nil, err
		}
		register(&protos.BulkService_ServiceDesc, &bulkServer{s: s, decoder: decoder, buffers: new(wire.Buffers)})
		register(&protos.TagService_ServiceDesc, &tagServer{s: s})
		register(&protos.GcService_ServiceDesc, &gcServer{s: s})
	}
	s.health.SetServingStatus(healthOfPuts, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if o.AllowPut {
		s.health.SetServingStatus(healthOfPuts, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	s.grpc.RegisterService(asStreams(grpc_health_v1.Health_ServiceDesc), s.health)
	return s, registerReflection(s.grpc)
}

// Use returns the store that the server offers now. It stays open until the caller calls done.
func (s *Server) Use(ctx context.Context) (st *store.Store, done func(), err error) {
	o, err := s.opened.use(ctx)
	if err != nil {
		return nil, nil, err
	}
	return o.st, func() { s.opened.done(o) }, nil
}

func (s *Server) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(uint32(s.o.MaxStreams) + moreStreams),
		grpc.NumStreamWorkers(streamWorkers),
		experimental.BufferPool(s.pool),
		grpc.ForceServerCodecV2(wire.Codec{Pool: s.pool}),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.WriteBufferSize(writeBuffer),
		grpc.ReadBufferSize(readBuffer),
		// The server notices clients that have vanished, and lets clients notice that it has.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(connectTime),
		grpc.InTapHandle(s.limits.open),
		grpc.StreamInterceptor(s.serve), // every call is a stream: see asStreams
	}
	if s.o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.o.TLS)))
	}
	return options
}

// Serve answers clients that connect to l until the server is shut down, and closes l. It may be called for several
// listeners at once. It returns an error only if l failed.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(listener{l, s.limits}); err != grpc.ErrServerStopped {
		return err
	}
	return nil
}

// Shutdown takes no more calls, waits for running ones until ctx ends, and makes what was stored durable.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.limits.stop()
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	s.grpc.GracefulStop()
	stop()
	return s.opened.close(ctx)
}

// serve answers one call: it checks the token, waits for a slot, and counts the call.
func (s *Server) serve(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, answer grpc.StreamHandler) (err error) {
	ctx, method := stream.Context(), shortMethod(info.FullMethod)
	begun := time.Now()
	s.metrics.running.Add(1)
	defer func() {
		s.metrics.running.Add(-1)
		took, cause := time.Since(begun), err
		err = toStatus(err)
		s.metrics.ended(method, status.Code(err), took)
		s.log(ctx, method, status.Code(err), cause, took)
	}()
	rights, err := s.rightsOf(ctx)
	if err != nil {
		return err
	}
	raw, ok := grpc.ServerTransportStreamFromContext(ctx).(transportStream)
	if !ok {
		return errTransport
	}
	terms := s.terms(method)
	var at *opened
	if terms.uses {
		if at, err = s.opened.use(ctx); err != nil {
			return err
		}
		defer s.opened.done(at)
	}
	c := &call{
		ServerStream: stream, at: at, l: s.limits, a: accountOf(ctx), raw: raw, pool: s.pool, terms: terms, rights: rights,
		streams: info.IsClientStream,
	}
	c.resends = strings.HasPrefix(strings.Join(metadata.ValueFromIncomingContext(ctx, "user-agent"), ""), "castar")
	c.ctx = context.WithValue(ctx, callKey{}, c)
	c.begin()
	if terms.slot < resources {
		err = c.take(terms.slot, 1)
	}
	if err == nil {
		err = answer(srv, c)
	}
	if (strings.HasSuffix(method, "/Put") || strings.HasSuffix(method, "/Join")) && isOfStore(err) {
		c.at.syncer.soon()
	}
	if err != nil && info.IsServerStream && !info.IsClientStream {
		// In an answer without messages, headers and status would be one frame. snix does not read "not found" from that.
		_ = stream.SendHeader(metadata.MD{}) // fails if they were sent already
	}
	return c.finish(err)
}

// terms returns what the calls of a method may do.
func (s *Server) terms(method string) terms {
	t := terms{message: min(askedMessage, s.o.MaxMessage), free: pieceSize, factor: 1, slot: resources}
	service, name, _ := strings.Cut(method, "/")
	if slices.Contains([]string{"DirectoryService", "BlobService", "BulkService", "TagService"}, service) {
		t.slot, t.uses = slots, name != "Forget"
	}
	switch {
	case service == "DirectoryService" && name == "Put":
		t.message, t.free, t.factor, t.upload, t.slot = s.o.MaxMessage, uncounted, 4, true, uploads
	case service == "BlobService" && name == "Put":
		t.message, t.writer, t.free = s.o.MaxMessage, true, wire.FrameSize+askedMessage
	case service == "BulkService" && name == "Put":
		t.message, t.factor = s.o.MaxMessage, 2 // until it is taken apart
	case service == "TagService" || service == "GcService":
		t.message, t.free, t.factor = min(recordMessage, s.o.MaxMessage), askedMessage, 4
	case service == "BulkService": // lists of digests take more room than their encoding
		t.message, t.factor = s.o.MaxMessage, 3
	}
	return t
}

// shortMethod returns the service and method without the package, because both packages have the same methods.
func shortMethod(full string) string {
	slash := strings.LastIndexByte(full, '/')
	return full[strings.LastIndexByte(full[:max(slash, 0)], '.')+1:]
}

// log records how a call ended, with all that the server knows. The client is told less.
func (s *Server) log(ctx context.Context, method string, code codes.Code, err error, took time.Duration) {
	level := slog.LevelWarn
	if slices.Contains([]codes.Code{codes.OK, codes.NotFound, codes.Canceled}, code) {
		level = slog.LevelDebug
	}
	if !s.o.Log.Enabled(ctx, level) {
		return
	}
	attrs := []any{"method", method, "code", code.String(), "took", took}
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, "peer", p.Addr.String())
	}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	s.o.Log.Log(ctx, level, "call", attrs...)
}

// identify makes the answer to a call name the instance if clients may store, because they need to know it then.
func (s *Server) identify(ctx context.Context) error {
	if !callOf(ctx).rights.Put {
		return nil
	}
	s.opened.lease(callOf(ctx).a)
	return grpc.SetHeader(ctx, callOf(ctx).at.instance)
}

// asStreams returns the description of a service with its requests as streams of one message, which is the same on the
// wire. gRPC reads the request of a plain method before it asks interceptors whether the client may call it. It reads
// that of a stream when the method asks for it, and by then the call is admitted and has its slot.
func asStreams(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	streams := slices.Clone(desc.Streams)
	for _, m := range desc.Methods {
		handler := func(srv any, stream grpc.ServerStream) error {
			resp, err := m.Handler(srv, stream.Context(), stream.RecvMsg, nil)
			if err != nil {
				return err
			}
			return stream.SendMsg(resp)
		}
		// gRPC asks stream interceptors only about streams.
		streams = append(streams, grpc.StreamDesc{StreamName: m.MethodName, Handler: handler, ClientStreams: true})
	}
	desc.Methods, desc.Streams = nil, streams
	return &desc
}
