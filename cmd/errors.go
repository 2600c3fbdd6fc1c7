package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"castar/store"
)

// Exit statuses. Scripts rely on them; see also the help of the program itself.
const (
	statusDone        = 0
	statusFailed      = 1
	statusUsage       = 2
	statusPartial     = 3   // finished, but damage was found or input was left out
	statusNotFound    = 10  // there is no such store or root
	statusLocked      = 11  // another process has the store for itself
	statusInterrupted = 130 // as shells report a death by SIGINT
)

// failure is an error that knows its exit status, and what the user might do about it.
type failure struct {
	err    error
	status int
	hint   string // a line of its own, or ""
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is a mistake on the command line. The command may be "".
func usagef(command, format string, args ...any) error {
	return &failure{
		err:    fmt.Errorf(format, args...),
		status: statusUsage,
		hint:   "see '" + strings.TrimSpace("castar "+command) + " --help'",
	}
}

// errPartial ends a command that did its work, but not all of it: what was left out or damaged has been said before.
var errPartial = errors.New("finished, but not everything is right")

// errDiffers ends a comparison that was asked to fail where something changed. What did has been printed.
var errDiffers = errors.New("the trees differ")

// statusOf returns the exit status for what a command returned.
func statusOf(err error) int {
	var f *failure
	switch {
	case err == nil:
		return statusDone
	case errors.Is(err, errPartial):
		return statusPartial
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case errors.As(err, &f):
		return f.status
	case errors.Is(err, store.ErrNoStore):
		return statusNotFound
	case errors.Is(err, store.ErrLocked):
		return statusLocked
	}
	return statusFailed
}

// hintOf returns a line of advice for err, or "".
func hintOf(err error) string {
	var f *failure
	var damage *store.CorruptError
	switch {
	case errors.As(err, &f):
		return f.hint
	case errors.As(err, &damage):
		return "'castar verify' lists what is damaged, and what to do about it"
	case errors.Is(err, store.ErrNoStore):
		return "'castar ingest' makes a store in a new or empty folder; -s or CASTAR_STORE names it"
	case errors.Is(err, store.ErrLocked):
		return "wait until the other process is done"
	}
	return ""
}

// jsonMessage is a line on stderr under --json.
type jsonMessage struct {
	Level      string `json:"level"`                 // "error": the command failed; "warning": it went on
	Command    string `json:"command,omitempty"`     // the subcommand; none where the command line names none
	Text       string `json:"text"`                  // a path and a reason, as without --json
	TextBase64 string `json:"text_base64,omitempty"` // the text once more, where a name in it is not UTF-8
	Hint       string `json:"hint,omitempty"`        // what the user might do
	Status     int    `json:"status,omitempty"`      // of an error: the exit status
}

// printError writes a command's error to w in the form that the user asked for: a line for each error that err joins,
// and one for the hint. errPartial and errDiffers are silent, for what they sum up has been said.
func printError(w io.Writer, asJSON bool, command string, err error) {
	status, hint := statusOf(err), hintOf(err)
	if status == statusPartial || errors.Is(err, errDiffers) {
		return
	}
	if status == statusInterrupted {
		err = errors.New("interrupted")
	}
	errs := split(err)
	for i, e := range errs {
		m := jsonMessage{Level: "error", Command: command, Status: status}
		text := store.ShortMessage(e.Error())
		m.Text, m.TextBase64 = jsonName(text)
		if i == len(errs)-1 {
			m.Hint = hint
		}
		m.print(w, asJSON, text)
	}
}

// print writes the message; raw is its text before JSON had it.
func (m jsonMessage) print(w io.Writer, asJSON bool, raw string) {
	if asJSON {
		_ = writeJSON(w, m) // there is nowhere to complain about stderr
		return
	}
	prefix := "castar: "
	if m.Command != "" {
		prefix += m.Command + ": "
	}
	if m.Level == "warning" {
		prefix += "warning: "
	}
	fmt.Fprintln(w, prefix+store.Escape(raw))
	if m.Hint != "" {
		fmt.Fprintln(w, store.Escape(m.Hint))
	}
}

// errorLines is errors each of which gets a line, perhaps very many.
type errorLines []error

func (l errorLines) Error() string   { return errors.Join(l...).Error() }
func (l errorLines) Unwrap() []error { return l }

// split returns the errors that err joins, each of which gets a line, or err alone.
func split(err error) []error {
	var f *failure
	if errors.As(err, &f) {
		err = f.err
	}
	if l, ok := err.(errorLines); ok {
		return l
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") { // one that fmt made of several is one line
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}
