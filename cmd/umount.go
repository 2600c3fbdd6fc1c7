package cmd

import (
	"errors"

	"github.com/urfave/cli/v2"

	"castar/export/mount"
)

const umountHelp = `
Unmounts castar mounts, even if the process that served them was killed. If something in a mount is in use, umount
prints the processes and does not unmount. With --lazy, the mount point is free at once, and the mount ends when nothing
uses it.

Examples:
  castar umount /mnt
  castar umount --lazy /mnt`

func (e *env) umountCommand() *cli.Command {
	var lazy bool
	return &cli.Command{
		Name:        "umount",
		Usage:       "end a mount, even if its process is gone",
		UsageText:   "castar umount [flags] DIR...",
		Description: umountHelp,
		Flags:       []cli.Flag{boolFlag("lazy", "z", &lazy, "unmount even if something in the mount is in use")},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("want a DIR")
			}
			var errs []error
			hint := ""
			for _, dir := range c.Args().Slice() {
				err := mount.Unmount(dir, lazy)
				if errors.Is(err, mount.ErrBusy) {
					hint = "--lazy takes it away at once"
				}
				errs = append(errs, err)
			}
			return hinted(errors.Join(errs...), hint)
		},
	}
}
