package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"castar/store"
	"castar/store/config"
	"castar/store/tree/advice"
)

// Exit statuses. Scripts rely on them. The help of castar lists them.
const (
	statusDone        = 0
	statusFailed      = 1
	statusUsage       = 2
	statusPartial     = 3   // finished, but damage was found or input was left out
	statusNotFound    = 10  // there is no such store or root
	statusLocked      = 11  // another process has locked the store
	statusInterrupted = 130 // as shells report a death by SIGINT
)

// failure is an error with its exit status and what the user can do about it.
type failure struct {
	err    error
	status int
	hint   string // a line of its own, or ""
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is a mistake on the command line. Its hint is the command's help.
func usagef(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), status: statusUsage}
}

// hinted returns err with a hint at what the user can do, or nil if err is nil.
func hinted(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &failure{err, statusOf(err), hint}
}

// errPartial ends a command that could not do all of its work. What was left out or damaged has been printed.
var errPartial = errors.New("finished, but something was left out or is damaged")

// partly returns err, or errPartial if there is none and something is damaged.
func partly(err error, damaged bool) error {
	if err == nil && damaged {
		return errPartial
	}
	return err
}

// errDiffers ends a diff with --exit-code that found changes. They have been printed.
var errDiffers = errors.New("the trees differ")

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
	case isWrongName(err):
		return statusUsage
	case errors.Is(err, store.ErrNoStore):
		return statusNotFound
	case errors.Is(err, store.ErrLocked):
		return statusLocked
	}
	return statusFailed
}

// hintOf returns a line of advice about an error of a command, whose name may be "", or "".
func hintOf(command string, err error) string {
	var f *failure
	switch {
	case errors.As(err, &f) && f.status == statusUsage && f.hint == "":
		return "see '" + strings.TrimSpace("castar "+command) + " --help'"
	case f != nil:
		return f.hint
	}
	hint := hintAtMaking(err)
	if name, ok := errors.AsType[*config.NameError](err); ok {
		hint = cmp.Or(hint, name.Hint)
	}
	return cmp.Or(hint, advice.OnError(err))
}

// hintAtMaking says what to do if no store could be made, or "".
func hintAtMaking(err error) string {
	e, ok := errors.AsType[*config.NoPlaceError](err)
	switch {
	case !ok:
		return ""
	case e.Mount:
		return "mount the disk; or 'castar init -s " + quote(e.Folder) + "' makes a new store there"
	}
	return "'castar init --parents -s " + quote(e.Folder) + "' makes a store and the folders above it"
}

// isWrongName reports whether the name of a store on the command line is wrong.
func isWrongName(err error) bool {
	e, ok := errors.AsType[*config.NameError](err)
	return ok && !e.File
}

// jsonMessage is a line on stderr under --json.
type jsonMessage struct {
	Level      string `json:"level"`                 // the old name of type: "error", the command failed, or "warning", it went on
	Command    string `json:"command,omitempty"`     // the command, if the command line names one
	Text       string `json:"text"`                  // a path and a reason, as without --json
	TextBase64 string `json:"text_base64,omitempty"` // the text, if a name in it is not UTF-8
	Hint       string `json:"hint,omitempty"`        // what the user can do
	Status     int    `json:"status,omitempty"`      // of an error: the exit status
}

func (m jsonMessage) lineType() string { return m.Level }

// printError writes a command's error to w in the form that the user asked for: a line for each error that err joins,
// and one for the hint. errPartial, errDiffers and errSaid print nothing, because everything
// has been said.
func printError(w io.Writer, asJSON bool, command string, err error) {
	status, hint := statusOf(err), hintOf(command, err)
	if status == statusPartial || errors.Is(err, errDiffers) || errors.Is(err, errSaid) {
		return
	}
	if status == statusInterrupted {
		err = errors.New("interrupted")
	}
	errs := slices.CompactFunc(split(err), func(a, b error) bool { return a.Error() == b.Error() })
	for i, e := range errs {
		m := jsonMessage{Level: "error", Command: command, Status: status}
		text := store.ShortMessage(e.Error())
		m.Text, m.TextBase64 = store.JSONName(text)
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

// errorLines is a list of errors, perhaps long. Each gets a line.
type errorLines []error

func (l errorLines) Error() string   { return errors.Join(l...).Error() }
func (l errorLines) Unwrap() []error { return l }

// split returns the errors that err joins, or err alone. Each gets a line. What is wrong with a server is not about the
// object that it was asked for, which is left out.
func split(err error) []error {
	var f *failure
	if errors.As(err, &f) {
		err = f.err
	}
	if l, ok := err.(errorLines); ok {
		return l
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") { // fmt makes one line of several errors
		if server, ok := errors.AsType[*store.ServerError](err); ok {
			err = server
		}
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}
