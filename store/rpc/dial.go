package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// Dial returns the store of the server that a URL names:
//
//	grpc+http://HOST[:PORT]     in the clear; the port is 80 where none is given
//	grpc+https://HOST[:PORT]    with TLS; the port is 443
//	grpc+unix:/PATH             a socket; also grpc+unix:///PATH
//
// A query may follow:
//
//	wait-connect=1              connect now, and fail if that fails; otherwise the first call connects
//	package=tvix, snix          the package of the server's services; otherwise the client asks the server
//	token-path=FILE             show the token in this file; with grpc+http only to this host
//	tls-ca-cert-path=FILE       trust the authorities in this file, not the system's; https only, like the next two
//	tls-client-cert-path=FILE   show this certificate
//	tls-client-key-path=FILE    the key of the certificate; both or neither
//
// Dial reads only the parts shown here; package config refuses URLs with others. It reads files at once. They are PEM,
// except for the token. The store has blobs and directories, no tags, and cannot list. Closing it closes the connection.
// ctx is only for connecting.
func Dial(ctx context.Context, rawURL string) (*store.Store, error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", rawURL, err)
	}
	conn, err := grpc.NewClient(t.address, append(dialOptions(), t.options...)...)
	if err != nil {
		return nil, fmt.Errorf("store %q: %w", rawURL, err)
	}
	if t.wait {
		if err := connected(ctx, conn); err != nil {
			conn.Close()
			return nil, fmt.Errorf("store %q: %w", rawURL, err)
		}
	}
	id := store.Sum([]byte(t.scheme + " " + t.address))
	return New(conn, "rpc-"+hex.EncodeToString(id[:16]), t.pkg), nil
}

// dialOptions are the options that do not depend on the server.
func dialOptions() []grpc.DialOption {
	agent := "castar"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		agent += "/" + strings.Trim(info.Main.Version, "()")
	}
	pool := new(wire.Buffers)
	return []grpc.DialOption{
		grpc.WithUserAgent(agent),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(clientMessageSize), grpc.ForceCodecV2(wire.Codec{Pool: pool})),
		grpc.WithStaticStreamWindowSize(windowSize),
		grpc.WithStaticConnWindowSize(connWindowSize),
		experimental.WithBufferPool(pool),
		grpc.WithWriteBufferSize(bufferSize),
		grpc.WithReadBufferSize(bufferSize),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
}

// connected waits until conn is connected. It does not try again.
func connected(ctx context.Context, conn *grpc.ClientConn) error {
	conn.Connect()
	for {
		switch state := conn.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			return errors.New("cannot connect")
		default:
			if !conn.WaitForStateChange(ctx, state) {
				return ctx.Err()
			}
		}
	}
}
