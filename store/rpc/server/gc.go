package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"castar/protos"
	"castar/store"
	"castar/store/record"
)

const (
	// gcReport is how often a client hears how far a gc is.
	gcReport = 500 * time.Millisecond
	// gcWarnings is how many warnings of a gc a client hears.
	gcWarnings = 1000
	// gcDropped is the length, in bytes, at which the list of roots that were given up ends.
	gcDropped = 2 << 20
	// gcLongestWait is how long a client may have a gc wait.
	gcLongestWait = 7 * 24 * time.Hour
	// gcLongestGrace is how long a client may leave in a bucket what was given up.
	gcLongestGrace = 10 * 365 * 24 * time.Hour
)

// Collect implements store.Collector. It waits until no client is in the middle of storing something, holds up all calls,
// and lets them go on when the garbage is gone. A dry run goes on beside them. The error is store.ErrUnsupported without
// Options.Collect.
func (s *Server) Collect(ctx context.Context, o store.CollectOptions) (r store.CollectResult, err error) {
	if s.o.Collect == nil || s.o.OpenAlone == nil {
		return r, store.ErrUnsupported
	}
	if o.DryRun {
		at, err := s.opened.use(ctx)
		if err != nil {
			return r, err
		}
		defer s.opened.done(at)
		return s.o.Collect(ctx, at.st, o)
	}
	if !s.collecting.TryLock() {
		return r, fmt.Errorf("%w: another gc is running", store.ErrLocked)
	}
	defer s.collecting.Unlock()
	err = s.opened.alone(ctx, o.Wait, func(st *store.Store) error {
		r, err = s.o.Collect(ctx, st, o)
		return err
	})
	return r, err
}

// gcServer implements GcService.
type gcServer struct {
	protos.UnimplementedGcServiceServer
	s *Server
}

// Run collects garbage, and tells the client how far it is.
func (g *gcServer) Run(req *protos.RunGcRequest, stream grpc.ServerStreamingServer[protos.RunGcResponse]) error {
	ctx := stream.Context()
	o, err := collectOptions(ctx, req)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var warnings []string
	o.Warn = func(err error) {
		g.s.o.Log.Warn("gc", "error", err)
		mu.Lock()
		defer mu.Unlock()
		if _, text := reason(err); len(warnings) < gcWarnings {
			warnings = append(warnings, "damaged, and kept: "+text)
		}
	}
	report := func() *protos.RunGcResponse {
		mu.Lock()
		defer mu.Unlock()
		m := &protos.RunGcResponse{Objects: o.Progress.Objects.Load(), Bytes: o.Progress.Bytes.Load(), Warnings: warnings}
		warnings = nil
		return m
	}
	done := make(chan error, 1)
	var result store.CollectResult
	go func() {
		var err error
		result, err = g.s.Collect(ctx, o)
		done <- err
	}()
	tick := time.NewTicker(gcReport)
	defer tick.Stop()
	var gone error // why the client cannot be told any more
	for {
		select {
		case <-tick.C:
			if gone == nil {
				gone = stream.Send(report())
			}
			continue
		case err = <-done:
		}
		break
	}
	if err != nil {
		return gcError(err)
	}
	last := report()
	if last.Result, err = json.Marshal(result); err != nil {
		return err
	}
	for i, size := 0, 0; i < len(result.Dropped) && size < gcDropped; i++ {
		b, err := record.EncodeTag(record.OneLine, result.Dropped[i])
		if err != nil {
			return err
		}
		last.Dropped, size = append(last.Dropped, b), size+len(b)
	}
	return stream.Send(last)
}

// collectOptions reads a request.
func collectOptions(ctx context.Context, req *protos.RunGcRequest) (o store.CollectOptions, err error) {
	r := callOf(ctx).rights
	switch {
	case req.GetDryRun():
	case r.Prefix != "":
		return o, deniedf("this client has only the tags below %s, and a gc concerns all", r.Prefix)
	default:
		if err := mayDelete(ctx, "collecting garbage"); err != nil {
			return o, err
		}
	}
	o = store.CollectOptions{DryRun: req.GetDryRun(), All: req.GetAll(), Wait: atMost(req.GetWait(), gcLongestWait),
		Grace: atMost(req.GetGrace(), gcLongestGrace), Progress: new(store.Progress)}
	for _, b := range req.GetKeep() {
		n, err := store.DecodeNode(b)
		if err != nil {
			return o, invalidf("%v", err)
		}
		o.Keep = append(o.Keep, n)
	}
	if len(req.GetForgotten()) > 0 && !o.DryRun {
		return o, invalidf("lines may be left out of account only in a dry run")
	}
	for _, b := range req.GetForgotten() {
		t, err := sentRecord(b)
		if err != nil {
			return o, err
		}
		o.Forgot = append(o.Forgot, t)
	}
	return o, nil
}

// atMost returns a number of milliseconds as a duration.
func atMost(ms uint64, most time.Duration) time.Duration {
	return time.Duration(min(ms, uint64(most/time.Millisecond))) * time.Millisecond
}

// Refusal returns an error of Options.Collect that clients are told word for word.
func Refusal(text string) error { return refusef(codes.FailedPrecondition, "%s", text) }

// gcError is what the client is told if a gc failed.
func gcError(err error) error {
	_, isRefusal := errors.AsType[*refused](err)
	switch {
	case isRefusal:
	case errors.Is(err, store.ErrLocked):
		return refusef(codes.FailedPrecondition, "%v", store.ErrLocked)
	case store.IsCorrupt(err):
		return refusef(codes.DataLoss, "nothing was removed: something that is kept is damaged: see the server's log")
	}
	return err
}
