package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/record"
)

// collector implements store.Collector by castar.v1.GcService.
type collector struct{ c *client }

// Collect has the server collect garbage. Ending ctx ends that.
func (g collector) Collect(ctx context.Context, o store.CollectOptions) (r store.CollectResult, err error) {
	req := &protos.RunGcRequest{DryRun: o.DryRun, All: o.All, Wait: milliseconds(o.Wait), Grace: milliseconds(o.Grace)}
	for _, n := range o.Keep {
		n.Name = ""
		b, err := store.EncodeNode(n)
		if err != nil {
			return r, err
		}
		req.Keep = append(req.Keep, b)
	}
	for _, t := range o.Forgot {
		b, err := record.EncodeTag(record.OneLine, t)
		if err != nil {
			return r, err
		}
		req.Forgotten = append(req.Forgotten, b)
	}
	k := g.c.begin(ctx)
	defer k.end()
	stream, err := protos.NewGcServiceClient(g.c.conn).Run(k.ctx, req)
	for err == nil {
		var m *protos.RunGcResponse
		err = k.wait(func() (err error) {
			m, err = stream.Recv()
			return err
		})
		if err != nil {
			break
		}
		for _, text := range m.GetWarnings() {
			o.Warn(errors.New(store.ShortMessage(text)))
		}
		if o.Progress != nil {
			o.Progress.Objects.Store(m.GetObjects())
			o.Progress.Bytes.Store(m.GetBytes())
		}
		if len(m.GetResult()) > 0 {
			return r, readResult(m, &r)
		}
	}
	return r, gcError(k.why(err))
}

// readResult reads the last message of a gc.
func readResult(m *protos.RunGcResponse, r *store.CollectResult) error {
	if err := json.Unmarshal(m.GetResult(), r); err != nil {
		return fmt.Errorf("the server: result of the gc: %w", err)
	}
	for _, b := range m.GetDropped() {
		t, err := decodeRecord(b)
		if err != nil {
			return err
		}
		r.Dropped = append(r.Dropped, t)
	}
	return nil
}

func milliseconds(d time.Duration) uint64 { return uint64(max(d, 0) / time.Millisecond) }

// gcError returns the error of a gc as one of package store.
func gcError(err error) error {
	switch {
	case err == io.EOF:
		return fmt.Errorf("the server ended the gc without a result: %w", io.ErrUnexpectedEOF)
	case status.Code(err) == codes.Unimplemented:
		return store.ErrUnsupported
	}
	return fromStatus(err, store.Digest{})
}
