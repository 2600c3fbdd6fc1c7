package cmd

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWiden(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	before, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	(&output{w: w}).widen()
	if after, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || after <= before {
		t.Errorf("a pipe of %d bytes has %d now, %v", before, after, err)
	}
	(&output{w: os.Stdout}).widen() // whatever it is
}
