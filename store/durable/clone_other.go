//go:build !linux

package durable

import "golang.org/x/sys/unix"

// CloneTo implements store.Cloneable. There is no system call for a part of a file.
func (f *file) CloneTo(int, int64, int64, int64) error { return unix.ENOTSUP }

// Shares implements Sharer.
func (f *file) Shares() bool { return false }
