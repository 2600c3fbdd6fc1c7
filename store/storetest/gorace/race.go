//go:build race

package gorace

import (
	"os"
	"syscall"
)

// Restart starts the program again with Options, unless GORACE is set already. The detector reads GORACE before main, so
// a test binary cannot set it for itself in another way. TestMain calls it first.
func Restart() {
	if os.Getenv("GORACE") != "" {
		return
	}
	os.Setenv("GORACE", Options)
	exe, err := os.Executable()
	if err == nil {
		err = syscall.Exec(exe, os.Args, os.Environ())
	}
	panic(err)
}
