//go:build linux

package mount

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Unmount ends the mount of castar's at dir, whether its process lives or not. If something in it is in use, the error is
// ErrBusy and names the processes; with lazy, the mount is taken away at once, and ends when nothing uses it any more.
// The error is ErrNotMounted if there is no such mount.
func Unmount(dir string, lazy bool) error {
	dir, err := locate(dir)
	if err != nil {
		return err
	}
	mounts, err := mountpoints()
	if err != nil {
		return err
	}
	if !slices.Contains(mounts, dir) {
		return fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	return unmount(dir, lazy)
}

// locate returns the absolute path of dir without symlinks. It asks nothing of dir itself, which may be dead, unless it
// is a symlink.
func locate(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if target, err := os.Readlink(dir); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(dir), target)
		}
		dir = target
	}
	up, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	return filepath.Join(up, filepath.Base(dir)), nil
}

// mountpoints returns where castar is mounted.
func mountpoints() (all []string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.castar castar rw; see proc_pid_mountinfo(5)
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) > 4 && strings.HasPrefix(after, "fuse."+fsName+" ") {
			all = append(all, unescape(fields[4]))
		}
	}
	return all, nil
}

// unescape undoes the escapes of a mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// unmount unmounts dir by itself, or if that is not permitted by fusermount3.
func unmount(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	if errors.Is(err, unix.EPERM) {
		err = fusermount(dir, lazy)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w%s", dir, ErrBusy, users(dir))
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: %w", dir, ErrNotMounted)
	case err != nil:
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// fusermount has the program of that name unmount, which may do that for the user who mounted.
func fusermount(dir string, lazy bool) error {
	args := []string{"-u", "--", dir}
	if lazy {
		args = append([]string{"-z"}, args...)
	}
	var err error
	for _, program := range []string{"fusermount3", "fusermount"} {
		var out []byte
		out, err = exec.Command(program, args...).CombinedOutput()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, exec.ErrNotFound):
			continue
		case bytes.Contains(out, []byte("busy")):
			return unix.EBUSY
		}
		return errors.New(strings.TrimSpace(string(out)))
	}
	return err
}

// users names the processes that use something below dir, as far as they can be seen: " (used by NAME (PID), …)".
func users(dir string) string {
	const most = 5
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range all {
		if !uses(process, dir) {
			continue
		}
		name, _ := os.ReadFile(process + "/comm")
		found = append(found, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process)))
	}
	switch {
	case len(found) == 0:
		return ""
	case len(found) > most:
		found = append(found[:most], fmt.Sprintf("%d more", len(found)-most))
	}
	return ": used by " + strings.Join(found, ", ")
}

// uses reports whether a process has its working directory, its root, its program, an open file or a mapped one below
// dir. It looks only at names, because a dead mount answers nothing.
func uses(process, dir string) bool {
	links, _ := filepath.Glob(process + "/fd/*")
	for _, l := range append(links, process+"/cwd", process+"/root", process+"/exe") {
		if at, err := os.Readlink(l); err == nil && (at == dir || strings.HasPrefix(at, dir+"/")) {
			return true
		}
	}
	maps, _ := os.ReadFile(process + "/maps")
	return bytes.Contains(maps, []byte(" "+dir+"/"))
}
