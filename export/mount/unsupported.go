//go:build !linux

package mount

import (
	"context"
	"errors"

	"castar/store"
)

var errUnsupported = errors.New("castar can mount on Linux only")

// Mounted is a file system that is mounted: on this system, none.
type Mounted struct{}

// Mount is not supported on this system.
func Mount(context.Context, *store.Store, *store.Node, string, Options) (*Mounted, error) {
	return nil, errUnsupported
}

// Unmount is not supported on this system.
func Unmount(string, bool) error { return errUnsupported }

// Dir returns "".
func (m *Mounted) Dir() string { return "" }

// Ended returns nil.
func (m *Mounted) Ended() <-chan struct{} { return nil }

// Unmount is not supported on this system.
func (m *Mounted) Unmount(bool) error { return errUnsupported }

// Close does nothing.
func (m *Mounted) Close() {}
