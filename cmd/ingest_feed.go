package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"castar/ingest"
	"castar/store"
)

// feed is what castar ingest reads instead of trees: an archive, standard input, or what a command writes.
type feed struct {
	format  string   // tar or nar; "" is a file
	path    string   // of the archive; "-" is standard input
	name    string   // of the file in the tree; "" is a file without a tree
	command []string // or nil
}

func (f *ingestFlags) isArchive() bool { return f.format != "" && f.format != "dir" }

// feed returns what to read if args, the arguments of castar ingest, are not paths of trees, and otherwise nil. dash is how
// many of args stood before a "--", or -1 if there was none. given reports whether a flag was given.
func (f *ingestFlags) feed(args []string, dash int, given func(flag string) bool) (*feed, error) {
	switch {
	case given("stdin"):
		return f.stdinFeed(args, dash, given)
	case f.isArchive():
		if len(args) != 1 {
			return nil, usagef("--format %s takes one FILE, or - for standard input, got %s", f.format, plural(uint64(len(args)), "argument"))
		}
		return &feed{format: f.format, path: args[0]}, f.onlyFor(given, treeFlags())
	case len(args) == 1 && args[0] == "-":
		return &feed{path: "-"}, f.onlyFor(given, append(treeFlags(), "skip-special", "ignore-errors"))
	}
	if slices.Contains(args, "-") {
		return nil, usagef("- is standard input, and cannot be stored beside other paths; a file of that name is ./-")
	}
	return nil, nil
}

func (f *ingestFlags) stdinFeed(args []string, dash int, given func(flag string) bool) (*feed, error) {
	if f.isArchive() {
		return nil, usagef("--stdin stores a file, and --format an archive: use one of them")
	}
	if err := store.ValidateName(f.stdin); err != nil {
		return nil, usagef("--stdin: %w", err)
	}
	in := &feed{path: "-", name: f.stdin}
	switch {
	case dash == 0 && len(args) > 0:
		in.command = args
	case len(args) > 0:
		return nil, usagef("--stdin takes no PATH; a command comes after --")
	case dash == 0:
		return nil, usagef("no command after --")
	}
	return in, f.onlyFor(given, append(treeFlags(), "skip-special", "ignore-errors"))
}

// treeFlags returns the flags that only say how to read trees of the file system.
func treeFlags() []string {
	return []string{"exclude", "exclude-from", "gitignore", "exclude-caches", "one-file-system", "no-cache", "trust-cache"}
}

// onlyFor returns an error if a flag was given that does not apply.
func (f *ingestFlags) onlyFor(given func(flag string) bool, flags []string) error {
	for _, flag := range flags {
		if given(flag) {
			return usagef("--%s works only with trees of the file system", flag)
		}
	}
	return nil
}

// source returns what is recorded as the source of the root.
func (in *feed) source() (string, error) {
	switch {
	case in.command != nil:
		return quoteAll(in.command, " "), nil
	case in.path == "-":
		return "-", nil
	}
	return filepath.Abs(in.path)
}

// ingestFeed reads f.from into st, and keeps it there. If st is nil, it only reads.
func (e *env) ingestFeed(ctx context.Context, f *ingestFlags, st *store.Store) ([]ingested, error) {
	in, began := f.from, time.Now()
	source, err := in.source()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the command, and its reader
	r, size, finish, err := e.openFeed(ctx, in)
	if err != nil {
		return nil, err
	}
	progress, position := new(ingest.Progress), new(countingReader)
	position.r, f.options.Progress = r, progress
	defer e.startProgress(func() sample {
		return sample{files: progress.Files.Load() + progress.Symlinks.Load(), bytes: position.n.Load(), total: size}
	})()
	result, err := in.ingest(ctx, st, position, f.options)
	if err != nil {
		cancel()
	}
	if ferr := finish(); err == nil {
		err = ferr
	}
	if left := (*ingest.LeftOutError)(nil); errors.As(err, &left) {
		return nil, refusal(left.Problems, nil)
	}
	if err != nil {
		return nil, in.about(err)
	}
	results := []ingested{{Result: result, source: source, seconds: time.Since(began).Seconds()}}
	return results, keep(ctx, st, f, results)
}

func (in *feed) ingest(ctx context.Context, st *store.Store, r io.Reader, o ingest.Options) (ingest.Result, error) {
	switch in.format {
	case "tar":
		return ingest.Tar(ctx, st, r, o)
	case "nar":
		return ingest.NAR(ctx, st, r, o)
	}
	return ingest.Stream(ctx, st, r, in.name, o)
}

// about says which input an error is about, unless the command did.
func (in *feed) about(err error) error {
	var f *failure
	switch {
	case errors.As(err, &f) || errors.Is(err, context.Canceled):
		return err
	case in.path == "-":
		return fmt.Errorf("standard input: %w", err)
	}
	return fmt.Errorf("%s: %w", quote(in.path), err)
}

// openFeed opens what is to be read. size is how many bytes that has, or 0 if it is not known. finish must be called when
// it was read, and returns an error if it is not to be believed.
func (e *env) openFeed(ctx context.Context, in *feed) (r io.Reader, size uint64, finish func() error, err error) {
	if in.command != nil {
		r, finish, err = e.startProducer(ctx, in.command)
		return r, 0, finish, err
	}
	r, finish = e.stdin, func() error { return nil }
	if in.path != "-" {
		f, err := os.Open(in.path)
		if err != nil {
			return nil, 0, nil, fmt.Errorf("%s: %s", quote(in.path), reason(err))
		}
		r, finish = f, f.Close
	}
	if f, ok := r.(*os.File); ok {
		switch fi, err := f.Stat(); {
		case err != nil:
			return nil, 0, nil, fmt.Errorf("%s: %s", quote(in.path), reason(err))
		case fi.IsDir():
			return nil, 0, nil, fmt.Errorf("%s: is a directory", quote(in.path))
		case fi.Mode().IsRegular():
			return r, uint64(fi.Size()), finish, nil
		}
	}
	return newPatientReader(ctx, r), 0, finish, nil
}

// killAfter is how long a command that was told to end may take.
const killAfter = 5 * time.Second

// startProducer starts a command, and returns what it writes. finish waits for its end and returns an error unless its
// status is 0. The end of ctx ends the command.
func (e *env) startProducer(ctx context.Context, command []string) (r io.Reader, finish func() error, err error) {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stderr, c.WaitDelay = e.stderr, killAfter
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if f, ok := e.stdin.(*os.File); ok {
		c.Stdin = f
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = exec.ErrNotFound
		}
		return nil, nil, &failure{err: fmt.Errorf("%s: %s", quote(command[0]), reason(err)), status: statusFailed}
	}
	finish = func() error {
		if err := c.Wait(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return hinted(fmt.Errorf("%s: %w", quote(command[0]), err), "there is no root: what it wrote may be incomplete")
		}
		return nil
	}
	return newPatientReader(ctx, out), finish, nil
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n atomic.Uint64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(uint64(n))
	return n, err
}

// newPatientReader returns what r has, through a goroutine, so that the end of ctx ends a read that waits for a pipe. Then the
// goroutine stays behind.
func newPatientReader(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 256<<10))
		in.CloseWithError(withoutPath(err))
	}()
	return out
}

// withoutPath returns the reason of an error of package os, which puts an operation and a path before it.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
