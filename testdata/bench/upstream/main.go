// Upstream serves a store with only the services that tvix and snix have too, to measure what a client does without those
// of castar's own.
//
//	go run ./testdata/bench/upstream STORE SOCKET
//
// STORE is a path or a URL, as castar -s takes it, and SOCKET the path of a Unix socket to listen at.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"castar/store/config"
	"castar/store/rpc/server"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: upstream STORE SOCKET")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

// serve serves a store at a socket until ctx ends.
func serve(ctx context.Context, spec, socket string) error {
	st, err := config.Open(ctx, spec, config.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	s, err := server.New(st, server.Options{AllowPut: true, Upstream: true})
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case <-ctx.Done():
		return s.Shutdown(context.Background())
	case err := <-ended:
		return err
	}
}
