package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

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
	errs, theirErrs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer errs.Close()
	defer theirErrs.Close()
	c := &exec.Cmd{
		Path: program, Args: append([]string{os.Args[0]}, e.args...), Env: append(os.Environ(), fmt.Sprint(readyVariable, "=", readyFD)),
		Stderr: theirErrs, ExtraFiles: []*os.File{theirReady}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := c.Start(); err != nil {
		return err
	}
	theirReady.Close()
	theirErrs.Close()
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
