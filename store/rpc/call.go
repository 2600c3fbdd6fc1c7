package rpc

import (
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store/retry"
	"castar/store/rpc/internal/wire"
)

// call is one call to the server. Its context ends with the call, and when the server does nothing for too long.
type call struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration
}

// begin begins a call. The time of the first wait counts from here.
func (c *client) begin(ctx context.Context) *call {
	k := &call{patience: c.patience}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.timer = time.AfterFunc(k.patience, func() { k.cancel(errNoAnswer) })
	return k
}

// wait calls f, which waits for the server. Time between two waits does not count.
func (k *call) wait(f func() error) error {
	k.timer.Reset(k.patience)
	err := f()
	k.timer.Stop()
	return k.why(err)
}

// why returns err, or the server's silence if that is the cause.
func (k *call) why(err error) error {
	if err != nil && context.Cause(k.ctx) == errNoAnswer {
		return fmt.Errorf("%w: nothing came for %v", errNoAnswer, k.patience)
	}
	return err
}

func (k *call) end() {
	k.timer.Stop()
	k.cancel(nil)
}

// unreached is the policy for a server that cannot be reached: about a second and a half of tries.
func unreached() retry.Policy { return retry.Policy{Tries: 6, First: 40 * time.Millisecond} }

// retry makes a call, and makes it again while the server is unavailable.
func (c *client) retry(ctx context.Context, do func(k *call) error) error {
	return again(ctx, func() error {
		k := c.begin(ctx)
		defer k.end()
		return k.why(do(k))
	})
}

// again calls do, and calls it again while the server is unavailable, but not for long.
func again(ctx context.Context, do func() error) error {
	unavailable := func(err error) bool { return status.Code(err) == codes.Unavailable }
	return unreached().Do(ctx, unavailable, func(context.Context) error { return do() })
}

// instanceOf returns the instance of a server of castar from the headers of an answer, or "".
func instanceOf(headers metadata.MD) string {
	if v := headers.Get(wire.InstanceHeader); len(v) > 0 {
		return v[0]
	}
	return ""
}

// sendError returns why sending failed. If the server ended the stream, Send returns only io.EOF, and the reason is the
// answer.
func sendError(stream grpc.ClientStream, err error) error {
	if err == io.EOF {
		err = stream.RecvMsg(new(protos.PutDirectoryResponse))
		if err == nil {
			err = errEarly
		}
	}
	return err
}
