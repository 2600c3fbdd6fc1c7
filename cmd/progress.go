package cmd

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"

	"castar/ingest"
	"castar/store"
)

// progressInterval is the time between two pictures of the bar: short enough to look alive, and long enough to cost
// nothing.
const progressInterval = 100 * time.Millisecond

// sample is how far a command has come.
type sample struct {
	files uint64
	bytes uint64
	total uint64 // bytes in all; 0 if not known yet; may grow
	unit  string // what files counts; "" is files
}

// newConsole returns what writes to w.
func newConsole(w io.Writer) *console { return &console{w: w, isTTY: isTerminal(w)} }

// console is stderr: lines, and sometimes a bar below them, which no line may break. Write may be called concurrently.
type console struct {
	w       io.Writer
	isTTY   bool // w is a terminal
	mu      sync.Mutex
	bar     *progressbar.ProgressBar // or nil
	known   bool                     // bar knows the total
	picture bytes.Buffer             // what bar has drawn and nobody has seen yet
}

// Write writes whole lines in place of the bar. The next picture of the bar comes below them.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	return c.w.Write(p)
}

// makeWay erases the bar until its next picture, so that stdout can write lines to the same terminal.
func (c *console) makeWay() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}

// clear erases the bar. The caller holds mu.
func (c *console) clear() {
	if c.bar != nil {
		_ = c.bar.Clear()
		c.draw()
	}
}

// draw shows what the bar has drawn. The caller holds mu.
func (c *console) draw() {
	text := c.picture.String()
	c.picture.Reset()
	if columns := columnsOf(c.w); columns > 0 {
		text = fitPictures(text, columns)
	}
	_, _ = io.WriteString(c.w, text) // a bar that cannot be drawn is no reason to stop
}

// show makes paint draw a bar.
func (c *console) show() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.bar, c.known = newBar(&c.picture), false
}

// hide erases the bar for good.
func (c *console) hide() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.bar = nil
}

// paint draws how far a command has come. A full bar ends, so the bar stays just short of full: the work after the last byte takes time too.
func (c *console) paint(command string, s sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar == nil {
		return
	}
	done := s.bytes
	if s.total > 0 {
		done = min(done, s.total)
		if !c.known { // start again: the bar has summed up bytes without a share of the total
			_ = c.bar.Set64(int64(done)) // first, so its rate does not see the step back
			_ = c.bar.Set64(0)
			c.known = true
		}
		if full := int64(s.total) + 1; c.bar.GetMax64() != full {
			c.bar.ChangeMax64(full)
		}
	}
	c.bar.Describe(fmt.Sprintf("%s %d %s", command, s.files, s.units()))
	_ = c.bar.Set64(int64(done))
	c.draw()
}

// sampleIngest returns a function that says how far an ingest is.
func sampleIngest(p *ingest.Progress) func() sample {
	return func() sample {
		return sample{files: p.Files.Load() + p.Symlinks.Load(), bytes: p.Bytes.Load()}
	}
}

// startProgress shows on stderr how far the command has come, until the returned function is called. It calls read several
// times a second, from another goroutine. The returned function erases the bar; it may be called twice. SIGUSR1 prints a
// line in any mode.
func (e *env) startProgress(read func() sample) (stop func()) {
	if e.wantsBar() {
		e.stderr.show()
	}
	var lines, objects <-chan time.Time
	if e.progress == "json" {
		objects = time.Tick(time.Second)
		e.printProgress(read(), 0)
	}
	if every := e.lineInterval(); every > 0 {
		lines = time.Tick(every)
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
			e.stderr.paint(e.command, read())
			select {
			case <-ticker.C:
			case <-asked:
				fmt.Fprintf(e.stderr, "castar: %s: %s\n", e.command, read().line(time.Since(began)))
			case <-lines:
				fmt.Fprintf(e.stderr, "castar: %s: %s\n", e.command, read().line(time.Since(began)))
			case <-objects:
				e.printProgress(read(), time.Since(began))
			case <-quit:
				e.stderr.hide()
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

// jsonProgress is a line on stderr with --progress=json.
type jsonProgress struct {
	Command string  `json:"command"`
	Entries uint64  `json:"entries"`
	Unit    string  `json:"unit"` // what entries counts: files or objects
	Bytes   uint64  `json:"bytes"`
	Total   uint64  `json:"total"` // bytes; 0 if not known yet; may grow
	Seconds float64 `json:"seconds"`
}

func (jsonProgress) lineType() string { return "progress" }

func (e *env) printProgress(s sample, elapsed time.Duration) {
	_ = writeJSON(e.stderr, jsonProgress{e.command, s.files, s.units(), s.bytes, s.total, elapsed.Seconds()})
}

// wantsBar reports whether to show a bar. --progress decides; auto shows it only on a terminal that can move its cursor,
// and keeps it among the lines of --verbose, which are written above it.
func (e *env) wantsBar() bool {
	switch {
	case e.progress == "always":
		return true
	case e.progress == "never" || e.progress == "json" || e.quiet || e.json || os.Getenv("TERM") == "dumb":
		return false
	}
	return e.stderr.isTTY
}

// lineInterval returns how often to print a line instead of a bar, or 0 for never: on a terminal that cannot move its
// cursor, a line a minute shows that castar is alive.
func (e *env) lineInterval() time.Duration {
	if e.progress != "auto" || e.quiet || e.json || os.Getenv("TERM") != "dumb" || !e.stderr.isTTY {
		return 0
	}
	return time.Minute
}

// newBar returns a bar that shows nothing before its first paint.
func newBar(w io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSpinnerType(14),
		progressbar.OptionSetSpinnerChangeInterval(0), // otherwise it starts a goroutine that never ends
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionUseANSICodes(os.Getenv("NO_COLOR") == ""),
	)
}

// fitPictures cuts each picture, from one carriage return to the next, to a row of so many columns: the next picture is
// drawn over one row only.
func fitPictures(text string, columns int) string {
	pictures := strings.Split(text, "\r")
	for i, p := range pictures {
		end := ""
		if at := strings.IndexByte(p, '\x1b'); at >= 0 {
			p, end = p[:at], p[at:]
		}
		pictures[i] = fitPicture([]rune(p), columns-1) + end // the cursor needs a column too
	}
	return strings.Join(pictures, "\r")
}

// fitPicture first shortens the gauge of a picture, which is between two | characters. Then it leaves out the amounts in
// parentheses, so that the times stay, and at last it cuts off the end.
func fitPicture(p []rune, columns int) string {
	from := slices.Index(p, '|') + 1
	to := from + slices.Index(p[from:], '|')
	if gauge, open := to-from, slices.Index(p, '('); len(p)-max(gauge, 0) > columns && open > to && to >= from && from > 0 {
		if end := slices.Index(p[open:], '['); end > 0 { // the amounts go before the times
			p = slices.Concat(p[:open], p[open+end:])
		}
	}
	if over := len(p) - columns; over > 0 && from > 0 && to > from {
		length := max(0, to-from-over)
		full := strings.Count(string(p[from:to]), "█") * length / (to - from)
		gauge := strings.Repeat("█", full) + strings.Repeat(" ", length-full)
		p = slices.Concat(p[:from], []rune(gauge), p[to:])
	}
	return string(p[:min(len(p), columns)])
}

func (s sample) units() string { return cmp.Or(s.unit, "files") }

func (s sample) line(elapsed time.Duration) string {
	text := fmt.Sprintf("%d %s, %s", s.files, s.units(), store.HumanBytes(s.bytes))
	if s.total > 0 {
		text += " of " + store.HumanBytes(s.total)
	}
	if seconds := elapsed.Seconds(); seconds > 0 {
		text += fmt.Sprintf(", %s/s", store.HumanBytes(uint64(float64(s.bytes)/seconds)))
	}
	return text + fmt.Sprintf(", %s", elapsed.Round(progressInterval))
}
