package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"castar/store"
	"castar/store/config"
	"castar/store/rpc/server"
	"castar/store/tree/collect"
)

// openServed opens the store to serve, and sets how the server opens it again.
func (e *env) openServed(ctx context.Context, f *serveFlags) (*store.Store, error) {
	mode := forRead
	switch {
	case f.options.AllowPut:
		mode = forIngest
	case f.options.AllowDelete || f.gcEvery > 0:
		mode = forWrite
	}
	life := lifeAfter(ctx)
	st, err := outlasting(ctx, life, func(ctx context.Context) (*store.Store, error) { return e.openStore(ctx, mode) })
	if err != nil {
		return nil, err
	}
	f.options.CheckRoots = true
	f.options.Reopen = func(ctx context.Context) (*store.Store, error) {
		return outlasting(ctx, life, func(ctx context.Context) (*store.Store, error) {
			return e.open(ctx, "", e.patient(config.Options{ReadOnly: mode == forRead}))
		})
	}
	if st.Sweeper == nil {
		if f.gcEvery > 0 {
			return nil, errors.Join(fmt.Errorf("--gc-every: %w", store.ErrUnsupported), st.Close())
		}
		return st, nil
	}
	f.options.OpenExclusive = func(ctx context.Context) (*store.Store, error) {
		return e.open(ctx, "", config.Options{Exclusive: true})
	}
	f.options.Collect = func(ctx context.Context, st *store.Store, o store.CollectOptions) (store.CollectResult, error) {
		r, err := collect.Run(ctx, st, collect.Options{CollectOptions: o})
		if store.IsNotFound(err) { // a path in a tree, which clients know
			err = server.Refusal(err.Error())
		}
		return r, err
	}
	spec, err := e.storeSpec()
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	folders, err := config.Folders(spec)
	f.options.Locks = len(folders) > 0 // in a bucket, nothing is locked
	return st, err
}

// lifeAfter returns a context that ends when running calls had time to finish, and the store to become durable, after ctx
// has ended.
func lifeAfter(ctx context.Context) context.Context {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(2*stopTime, end) })
	return life
}

// outlasting opens a store, unless ctx ends before it is open. What the store does then goes on as long as life: a store
// in a bucket works only while its context lasts, and a server that ends still finishes running calls.
func outlasting(ctx, life context.Context, open func(context.Context) (*store.Store, error)) (*store.Store, error) {
	life, end := context.WithCancel(life)
	opened := context.AfterFunc(ctx, end)
	st, err := open(life)
	if !opened() && err == nil {
		err = errors.Join(ctx.Err(), st.Close())
	}
	if err != nil {
		end()
		return nil, err
	}
	st.Barrier = lastBarrier{st.Barrier, end}
	return st, nil
}

// lastBarrier is the barrier of a store whose context ends when it is closed.
type lastBarrier struct {
	store.Barrier
	end context.CancelFunc
}

// Close implements store.Barrier.
func (b lastBarrier) Close() error {
	defer b.end()
	return b.Barrier.Close()
}

// tend collects garbage each --gc-every, until ctx ends.
func (f *serveFlags) tend(ctx context.Context, s *server.Server) {
	if f.gcEvery == 0 {
		return
	}
	for tick := time.Tick(f.gcEvery); ; {
		select {
		case <-tick:
			f.collectGarbage(ctx, s)
		case <-ctx.Done():
			return
		}
	}
}

// rereadTokens reads --token-file again at each SIGHUP, which does not end the server any more, until ctx ends.
func (f *serveFlags) rereadTokens(ctx context.Context) {
	if f.tokenFile == "" {
		return
	}
	signal.Reset(syscall.SIGHUP)
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	context.AfterFunc(ctx, func() {
		signal.Stop(again)
		close(again)
	})
	go func() {
		for range again {
			if list, err := f.readTokens(); err != nil {
				f.options.Log.Error("tokens stay as they are", "error", err)
			} else {
				f.options.Tokens.Replace(list)
				f.options.Log.Info("tokens", "number", len(list))
			}
		}
	}()
}

// readTokens reads --token-file, and warns if others may read it.
func (f *serveFlags) readTokens() ([]server.Token, error) {
	file, err := os.Open(f.tokenFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if fi, err := file.Stat(); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o004 != 0 {
		f.options.Log.Warn("everybody on this machine can read the tokens", "file", f.tokenFile)
	}
	list, err := server.ParseTokens(file, server.Rights{Put: f.options.AllowPut, Delete: f.options.AllowDelete})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.tokenFile, err)
	}
	return list, nil
}

// collectGarbage collects garbage once. It waits for a moment at which no client is in the middle of storing something.
func (f *serveFlags) collectGarbage(ctx context.Context, s *server.Server) {
	log := f.options.Log
	r, err := s.Collect(ctx, store.CollectOptions{Wait: f.gcEvery / 2, Grace: gcGrace, Progress: new(store.Progress),
		Warn: func(err error) { log.Warn("gc", "error", err) }})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		log.Error("gc", "error", err)
	default:
		log.LogAttrs(ctx, slog.LevelInfo, "gc", slog.Uint64("freed_bytes", r.FreedBytes), slog.Uint64("freed_objects", r.FreedObjects),
			slog.Uint64("kept_bytes", r.KeptBytes))
	}
}
