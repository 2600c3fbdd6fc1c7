package cmd

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressModes returns the values of --progress.
func progressModes() []string { return []string{"auto", "always", "never"} }

// progressInterval is the time between two pictures of the bar: quick enough to look alive, and too slow to cost.
const progressInterval = 100 * time.Millisecond

// sample is how far a command has come.
type sample struct {
	files uint64
	bytes uint64
	total uint64 // bytes there are in all, or 0 where that is not known yet; may grow
	unit  string // what files counts; "" is files
}

// console is stderr: lines, and at times a bar below them, of which a line must not get into the middle. Write may be
// called concurrently.
type console struct {
	w     io.Writer
	mu    sync.Mutex
	bar   *progressbar.ProgressBar // or nil
	known bool                     // whether bar has been told of a total
}

// Write writes whole lines, in the place of the bar; the next picture of that comes below.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	return c.w.Write(p)
}

// clear erases the bar. The caller holds mu.
func (c *console) clear() {
	if c.bar != nil {
		_ = c.bar.Clear() // a bar that cannot be drawn is no reason to stop
	}
}

// show makes bar, or none if it is nil, the one that paint draws.
func (c *console) show(bar *progressbar.ProgressBar) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.bar, c.known = bar, false
}

// paint draws s. A full bar would end, so that it stops just short of it: what follows the last byte takes time too.
func (c *console) paint(command string, s sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar == nil {
		return
	}
	done := s.bytes
	if s.total > 0 {
		done = min(done, s.total)
		if !c.known { // what the bar counted before is in its sum but not in its share, so that it begins anew
			_ = c.bar.Set64(int64(done)) // first, so that its rate does not see the step back
			_ = c.bar.Set64(0)
			c.known = true
		}
		if full := int64(s.total) + 1; c.bar.GetMax64() != full {
			c.bar.ChangeMax64(full)
		}
	}
	c.bar.Describe(fmt.Sprintf("%s %d %s", command, s.files, s.units()))
	_ = c.bar.Set64(int64(done))
}

// startProgress shows on stderr how far command has come, which it asks read for, several times a second and from
// another goroutine, until the returned function is called. That one erases the bar; it may be called twice.
// Whatever the mode, SIGUSR1 prints one line.
func (e *env) startProgress(command string, read func() sample) (stop func()) {
	if e.wantsBar() {
		e.stderr.show(newBar(e.stderr.w, command))
	}
	began := time.Now()
	quit, finished := make(chan struct{}), make(chan struct{})
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		defer close(finished)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			e.stderr.paint(command, read())
			select {
			case <-ticker.C:
			case <-asked:
				fmt.Fprintf(e.stderr, "castar: %s: %s\n", command, read().line(time.Since(began)))
			case <-quit:
				e.stderr.show(nil)
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(asked)
		close(quit)
		<-finished
	})
}

// wantsBar decides as --progress says. On its own a bar is shown to people only: on a terminal that can move its cursor,
// and not among the lines that --verbose writes.
func (e *env) wantsBar() bool {
	switch {
	case e.progress == "always":
		return true
	case e.progress == "never" || e.quiet || e.json || e.verbose || os.Getenv("TERM") == "dumb":
		return false
	}
	f, ok := e.stderr.w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newBar returns a bar that shows nothing before its first paint.
func newBar(w io.Writer, command string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(command),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSpinnerType(14),
		progressbar.OptionSetSpinnerChangeInterval(0), // otherwise a goroutine of its own paints, for ever
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionUseANSICodes(os.Getenv("NO_COLOR") == ""),
	)
}

func (s sample) units() string { return cmp.Or(s.unit, "files") }

// line describes s in one line.
func (s sample) line(elapsed time.Duration) string {
	text := fmt.Sprintf("%d %s, %s", s.files, s.units(), humanBytes(s.bytes))
	if s.total > 0 {
		text += " of " + humanBytes(s.total)
	}
	if seconds := elapsed.Seconds(); seconds > 0 {
		text += fmt.Sprintf(", %s/s", humanBytes(uint64(float64(s.bytes)/seconds)))
	}
	return text + fmt.Sprintf(", %s", elapsed.Round(progressInterval))
}

// humanBytes returns n with three digits or so, in binary units.
func humanBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/1024, "KMGTPE"
	for value >= 1023.95 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
