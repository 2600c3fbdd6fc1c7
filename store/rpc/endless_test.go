package rpc

import (
	"testing"
	"time"

	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// A server that keeps sending messages without content is treated like a silent one.
func TestEndlessNothing(t *testing.T) {
	l := &liar{read: func(_ store.Digest, send func([]byte) error) error {
		for {
			if err := send(nil); err != nil {
				return err
			}
		}
	}}
	dl := &directoryLiar{get: func(send func([]byte) error) error {
		for {
			if err := send(nil); err != nil {
				return err
			}
		}
	}}
	c := serveLies(t, wire.TvixPackage, l, dl)
	c.usePackage(wire.TvixPackage)
	c.patience = 200 * time.Millisecond
	_, err := blobs{c: c}.Open(t.Context(), store.Sum(rpctest.Random(1000)))
	wantSilence(t, err)
	for _, err = range (directories{c}).Walk(t.Context(), store.Sum(nil)) {
	}
	wantSilence(t, err)
}
