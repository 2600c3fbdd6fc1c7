package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"castar/export/mount"
	"castar/store"
	"castar/store/listing"
	"castar/store/tree"
)

const mountHelp = `
Shows a stored directory as a read-only file system at DIR, by FUSE. Without a ROOT, it shows the whole store:

  tags/NAME         what the tags name; a slash in a name makes a directory
  log/DATE-TIME     what was ingested, by time (UTC); -2, -3 … if times are equal
  roots/DIGEST      any root by its digest; 8 or more of its digits are a link to
                    it. Only roots that a tag or a line of the log names are listed

tags and log follow the store within seconds. If one tag is named home and another home/x, the first is shown as
"home:".

When the mount is ready, castar prints its path. It then serves the mount until 'castar umount DIR', umount or
fusermount3 -u ends it. SIGINT and SIGTERM end it too. If a process uses the mount, castar names the process, waits
until it is done, then unmounts. A second signal unmounts at once. With --daemon, castar returns when the mount is
ready, and a process in the background serves it; errors before that are printed as usual.

Every byte is checked against a digest before a program gets it. Reading what is damaged or missing gives an I/O error
(EIO), and a line on stderr, once for each object. If the store cannot be reached, castar prints one line, and no more
until the store answers again. The mount stays. A daemon writes these lines to the file of --log, if there is one.

If castar is killed, DIR gives the error "transport endpoint is not connected". 'castar umount DIR' clears that.

Tags and lines of the log show the modes and times that 'castar ingest' listed. Without a listing, or with
--metadata=none, files have the mode 0444, or 0555 if they are executable, directories have 0555, and all have the time
of the mount; --mtime wins. Everything belongs to the user who mounts. A file at one path of a tree has the same inode
number in every mount. No two files of a mount share one, so they look like copies, not like hard links. Extended
attributes hold the digests: user.castar.digest in hexadecimal, and tvix's user.tvix.castore.blob.digest or
user.tvix.castore.directory.digest.

Any user may mount where fusermount3 is installed; root does not need it. Only the user who mounts can read; not even
root can. With --allow-other, everyone can read. Users other than root may give it only if /etc/fuse.conf allows it. A
DIR that is not empty is refused, unless --nonempty is given. Mounting works on Linux only.

The mount keeps the store open. 'castar gc' of a store on this machine must wait until it is unmounted. A bucket or
another server does not wait: what a gc there removes gives an I/O error.

With --json, the path is printed as an object: type (mount), dir, and root if there is one.

Examples:
  castar mount src /mnt
  castar mount 4fc3b6c1:cmd ~/cmd
  castar mount --daemon ~/castar && ls ~/castar/log
  getfattr -d /mnt/README.md
  castar umount /mnt`

// mountFlags is what was typed after castar mount.
type mountFlags struct {
	daemon  bool
	log     string
	options mount.Options

	metadata string // auto or none
}

func (e *env) mountCommand() *cli.Command {
	var f mountFlags
	return &cli.Command{
		Name:        "mount",
		Usage:       "show a tree, or the whole store, as a file system",
		UsageText:   "castar mount [flags] [ROOT[:path]] DIR",
		Description: mountHelp,
		Flags: []cli.Flag{
			boolFlag("daemon", "", &f.daemon, "return when the mount is ready, and serve it in the background"),
			&cli.StringFlag{Name: "log", Destination: &f.log, Usage: "with --daemon, append errors and warnings to `FILE`"},
			boolFlag("allow-other", "", &f.options.AllowOther, "let all users read"),
			boolFlag("nonempty", "", &f.options.Nonempty, "mount over a DIR that is not empty, and hide what is in it"),
			metadataFlag(&f.metadata, "show modes and times: `WHEN` is auto (if the store keeps them) or none"),
			timeFlag(&f.options.Time, "the time in the listing, or else now"),
		},
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			switch {
			case len(args) == 0:
				return usagef("want a DIR, and before it the ROOT to mount, if not the whole store")
			case len(args) > 2:
				return usagef("want a ROOT and a DIR, got %s", plural(uint64(len(args)), "argument"))
			case f.log != "" && !f.daemon:
				return usagef("--log works only with --daemon")
			}
			if c.IsSet("mtime") && f.options.Time.IsZero() {
				f.options.Time = time.Now()
			}
			ready := readyPipe()
			if f.daemon && ready == nil {
				return e.startDaemon(c.Context)
			}
			ref := ""
			if len(args) == 2 {
				ref = args[0]
			}
			return e.mount(c.Context, &f, ref, args[len(args)-1], ready)
		},
	}
}

// mountMemory is where the garbage collector begins to work harder. The caches of a mount and of a store take about half
// of it.
const mountMemory = 200 << 20

// mount mounts what ref means at dir, or the whole store if ref is "", and serves it until it is unmounted.
func (e *env) mount(ctx context.Context, f *mountFlags, ref, dir string, ready *os.File) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, endings()...)
	defer signal.Stop(signals)
	debug.SetMemoryLimit(mountMemory)
	st, err := e.openPatient(ctx, forRead)
	if err != nil {
		return err
	}
	defer st.Close()
	var root *store.Node
	// A goroutine in a system call, as when it answers the kernel, keeps its share of the processors, although others could
	// run. With twice as many shares, a long file is read a quarter faster.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)))
	result := jsonMount{}
	if ref != "" {
		r, err := e.mountRoot(ctx, st, ref)
		if err != nil {
			return err
		}
		root, result.Root = &r.Node, r.Node.Digest.String()
		f.options.Listing, f.options.Inside = r.Listing, r.Path
	}
	f.options.Report = func(path string, err error) { e.warn(quote(path) + ": " + err.Error()) }
	if f.metadata != "none" {
		f.options.Facts = func(ctx context.Context, d store.Digest) (*listing.Folder, int64, error) {
			kept, err := listing.Read(ctx, st.Blobs, d, "", func(err error) { e.warn(err.Error()) })
			if err != nil {
				return nil, 0, err
			}
			return kept.Folder, kept.Bytes, nil // a file that nothing uses any more closes itself
		}
	}
	m, err := mount.Mount(ctx, st, root, dir, f.options)
	if err != nil {
		return hintAtMount(err)
	}
	defer m.Close()
	result.Dir, result.DirBase64 = store.JSONName(m.Dir())
	if ready == nil {
		e.printMount(m.Dir(), result)
	} else if err := e.detach(f.log, ready, m.Dir(), result); err != nil {
		return errors.Join(err, m.Unmount(true))
	}
	return e.serveMount(m, signals)
}

func (e *env) mountRoot(ctx context.Context, st *store.Store, ref string) (tree.Ref, error) {
	r, err := resolveRef(ctx, st, ref)
	if err == nil && r.Node.Kind != store.KindDirectory {
		err = hinted(fmt.Errorf("%s: a %s cannot be mounted, only a directory", quote(ref), r.Node.Kind),
			"'castar export' writes it, and 'castar cat' prints it")
	}
	r.Node.Name = ""
	return r, err
}

// hintAtMount returns the error of a mount, with what can be done about it.
func hintAtMount(err error) error {
	hint := ""
	switch {
	case errors.Is(err, mount.ErrDead):
		hint = "'castar umount DIR' clears it"
	case errors.Is(err, mount.ErrNonempty):
		hint = "--nonempty hides them until it is unmounted"
	}
	return hinted(err, hint)
}

// jsonMount is a mount that is ready, as JSON.
type jsonMount struct {
	Dir       string `json:"dir"`                  // the absolute path of the mount
	DirBase64 string `json:"dir_base64,omitempty"` // if that is not UTF-8
	Root      string `json:"root,omitempty"`       // the digest of what is mounted, if not the whole store
}

func (jsonMount) lineType() string { return "mount" }

// printMount says that the mount is ready.
func (e *env) printMount(dir string, result jsonMount) {
	e.print(result, dir)
	e.note("ready; Ctrl-C or 'castar umount " + quoteBash(dir, "") + "' ends it")
}

// serveMount returns when m is unmounted. The first signal unmounts, if necessary when nothing is in use any more. The
// second one unmounts without waiting for that.
func (e *env) serveMount(m *mount.Mounted, signals <-chan os.Signal) error {
	const again = time.Second
	for ask := (<-chan time.Time)(nil); ; {
		select {
		case <-m.Ended():
			return nil
		case <-signals:
			if ask != nil {
				return m.Unmount(true)
			}
			err := m.Unmount(false)
			if errors.Is(err, mount.ErrBusy) {
				e.warn(err.Error() + "; waiting for that to end; another signal takes the mount away at once")
			} else if err != nil {
				return err
			}
		case <-ask:
			if err := m.Unmount(false); err != nil && !errors.Is(err, mount.ErrBusy) {
				return err
			}
		}
		ask = time.After(again)
	}
}

// A daemon is castar started again with the same arguments. On readyFD it says what the user should see when it is ready.
// Until then its errors go to the one who started it, and its exit status is theirs.
const (
	readyVariable = "CASTAR_READY_FD"
	readyFD       = 3
)

// errSaid ends a command whose error another process has printed.
var errSaid = errors.New("another process has said why")

// readyPipe returns where a daemon says that it is ready, or nil if this is none.
func readyPipe() *os.File {
	if os.Getenv(readyVariable) == "" {
		return nil
	}
	os.Unsetenv(readyVariable)
	syscall.CloseOnExec(readyFD)
	return os.NewFile(readyFD, "ready")
}

// startDaemon starts a daemon, and returns when it is ready or has failed.
func (e *env) startDaemon(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ready, theirReady, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer theirReady.Close()
	c := &exec.Cmd{
		Path: program, Args: append([]string{os.Args[0]}, e.args...), Env: append(os.Environ(), fmt.Sprint(readyVariable, "=", readyFD)),
		ExtraFiles: []*os.File{theirReady}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	errs, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return err
	}
	theirReady.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Signal(syscall.SIGTERM) })
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.Copy(e.stderr, errs)
	}()
	result, _ := io.ReadAll(ready) // until the daemon closes it, or ends
	<-said
	if stop() && len(result) > 0 {
		_, err := e.stdout.Write(result)
		return errors.Join(err, c.Process.Release())
	}
	_ = c.Wait() // the status says it all
	return &failure{err: errSaid, status: max(c.ProcessState.ExitCode(), statusFailed)}
}

// detach says on ready that the daemon is ready, and gives up the terminal. From then on, stderr is the file log, or goes
// nowhere if log is "".
func (e *env) detach(log string, ready *os.File, dir string, result jsonMount) error {
	defer ready.Close()
	if log == "" {
		log = os.DevNull
	}
	file, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Dup2(int(file.Fd()), int(os.Stderr.Fd())); err != nil {
		return fmt.Errorf("stderr: %w", err)
	}
	if e.json {
		return writeJSON(ready, result)
	}
	_, err = fmt.Fprintln(ready, dir)
	return err
}
