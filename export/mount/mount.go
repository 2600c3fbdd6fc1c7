//go:build linux

package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"castar/store"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fsName is what mount tables call the mounts of castar: of type fuse.castar.
const fsName = "castar"

var errSize = fmt.Errorf("its size is more than %d", uint64(maxSize))

// Mounted is a file system that is mounted. Its methods may be called concurrently.
type Mounted struct {
	dir    string
	server *server
	stop   context.CancelFunc
	ended  chan struct{}
}

// Mount mounts the directory root at dir; or, if root is nil, the tags, the log and all roots of the store. The mount is
// ready when Mount returns, and lasts until it is unmounted, by this process or another. Then call Close.
//
// The error is ErrDead or ErrNonempty if dir is that.
func Mount(ctx context.Context, st *store.Store, root *store.Node, dir string, o Options) (*Mounted, error) {
	switch {
	case st.Blobs == nil || st.Directories == nil:
		return nil, fmt.Errorf("a store that keeps only blobs or only directories: %w", store.ErrUnsupported)
	case root != nil && root.Kind != store.KindDirectory:
		return nil, fmt.Errorf("a %s cannot be mounted, only a directory", root.Kind)
	case root != nil && root.Size > maxSize:
		return nil, errSize
	}
	dir, err := checkDir(dir, o.Nonempty)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // an interrupt is the caller's to handle
	s := &server{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		owner:         fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())},
		time:          o.Time, began: time.Now(), facts: newFacts(&o),
	}
	top := top{folder: root == nil}
	if root == nil {
		s.whole = &whole{st: st}
	} else {
		top.node, top.listing, top.inside = *root, o.Listing, o.Inside
	}
	s.fs = newFsys(ctx, st, top, o.Report)
	if s.whole != nil {
		s.whole.report = func(path string, err error) { s.fs.reports.add(err, func() string { return path }) }
	}
	m := &Mounted{dir: dir, server: s, stop: stop, ended: make(chan struct{})}
	if err := m.start(o.AllowOther); err != nil {
		stop()
		return nil, err
	}
	return m, nil
}

// checkDir returns the absolute path of a mountpoint, without symlinks.
func checkDir(dir string, nonempty bool) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	d, err := os.Open(dir)
	if errors.Is(err, syscall.ENOTCONN) {
		return "", fmt.Errorf("%s: %w", dir, ErrDead)
	}
	if err != nil {
		return "", err
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	if errors.Is(err, io.EOF) || err == nil && nonempty {
		return filepath.EvalSymlinks(dir)
	}
	if err == nil {
		err = fmt.Errorf("%s: %w", dir, ErrNonempty)
	}
	return "", err
}

const (
	// readSize is the most that the kernel reads at once.
	readSize = 512 << 10
	// requests is how many reads ahead the kernel has in flight.
	requests = 16
)

// start mounts, and answers the kernel from then on.
func (m *Mounted) start(allowOther bool) error {
	o := &fuse.MountOptions{
		FsName: fsName, Name: fsName, AllowOther: allowOther,
		MaxWrite: readSize, MaxReadAhead: readSize, MaxBackground: requests,
		EnableSymlinkCaching: true, ExplicitDataCacheControl: true, DisableSplice: true,
		ExtraCapabilities: fuse.CAP_NO_OPENDIR_SUPPORT,
		Options:           []string{"default_permissions"},
		Logger:            log.New(io.Discard, "", 0), // of requests whose callers are gone
		PanicHandler:      m.server.fs.panicked,
	}
	if os.Geteuid() == 0 {
		o.DirectMountStrict, o.DirectMountFlags = true, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV
	} else {
		o.Options = append(o.Options, "ro")
	}
	f, err := fuse.NewServer(m.server, m.dir, o)
	if err != nil {
		return mountError(m.dir, err)
	}
	go func() {
		f.Serve()
		close(m.ended)
	}()
	if err := f.WaitMount(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", m.dir, err), m.Unmount(true))
	}
	readAhead(m.dir)
	return nil
}

// mountError says why mounting failed.
func mountError(dir string, err error) error {
	if _, statErr := os.Stat("/dev/fuse"); statErr != nil {
		return fmt.Errorf("%s: no FUSE here: %w", dir, statErr)
	}
	if errors.Is(err, syscall.EPERM) {
		err = errors.New("mounting is not permitted")
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// readAhead lets the kernel read as far ahead as it reads at once. It takes root, and is not needed for anything but
// speed.
func readAhead(dir string) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return
	}
	name := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	_ = os.WriteFile(name, fmt.Appendln(nil, readSize>>10), 0)
}

// Dir returns the absolute path of the mountpoint.
func (m *Mounted) Dir() string { return m.dir }

// Ended returns a channel that is closed when nothing is mounted or in use any more.
func (m *Mounted) Ended() <-chan struct{} { return m.ended }

// Unmount is the function Unmount for this mount.
func (m *Mounted) Unmount(lazy bool) error { return unmount(m.dir, lazy) }

// Close ends what is being read, and releases what the mount holds. It does not unmount: what is still in use gives
// errors from then on.
func (m *Mounted) Close() {
	m.stop()
	m.server.close()
}
