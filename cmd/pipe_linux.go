package cmd

import (
	"os"

	"golang.org/x/sys/unix"
)

// widen lets stdout, if it is a pipe, hold as much as a program without privileges may ask for. Writer and reader then
// wait for each other less often, which takes a tenth off the time of an archive.
func (o *output) widen() {
	const most = 1 << 20
	if f, ok := o.w.(*os.File); ok {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, most) // it works without, too
	}
}
