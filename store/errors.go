package store

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart with errors.Is. Backends wrap them with what they know.
var (
	// ErrNotFound says that a store does not have the blob, directory or tag that was asked for.
	ErrNotFound = errors.New("not found")
	// ErrNoStore says that there is no store, rather than one that lacks something.
	ErrNoStore = errors.New("no store here")
	// ErrNoConfig says that a store has objects, and has lost the file that says how to read them. It is an ErrNoStore.
	ErrNoConfig = fmt.Errorf("%w: it has objects, but no config", ErrNoStore)
	// ErrLocked says that another process has locked the store.
	ErrLocked = errors.New("locked by another process")
	// ErrNotAlone says that what was asked for needs a store that was opened exclusively.
	ErrNotAlone = errors.New("the store is not open exclusively")
	// ErrReadOnly says that a store was opened only to be read.
	ErrReadOnly = errors.New("store is read-only")
	// ErrTooDeep says that a tree has more than MaxDepth levels of directories.
	ErrTooDeep = fmt.Errorf("more than %d directories deep", MaxDepth)
	// ErrTagsLost says that a store has lost tags, and that their names are unknown. What they reach may be needed.
	ErrTagsLost = errors.New("tags were lost")
	// ErrNothingKept says that a store has neither a tag nor a line in the log, so that all of it is garbage.
	ErrNothingKept = errors.New("there is no tag and no ingest in the log, so everything would be removed")
	// ErrNewer says that something was written by a newer castar, and that this one must not judge it. It is not damage, and
	// nothing that it concerns is changed.
	ErrNewer = errors.New("written by a newer castar")
	// ErrDenied says that a server does not let this client do what it asked for.
	ErrDenied = errors.New("not allowed")
	// ErrChanged says that something is no longer as the caller saw it.
	ErrChanged = errors.New("changed by another process")
	// ErrCollected says that a gc removed what a writer relied on, and that the writer could not store it again.
	ErrCollected = errors.New("a gc removed objects that this command relied on: run it again")
	// ErrUnsupported says that this kind of store can never do what was asked.
	ErrUnsupported = errors.New("not supported by this kind of store")
)

// SizeRuleError reports that a server refuses a tree because its directories count their sizes by another SizeRule.
type SizeRuleError struct{ Text string } // the server's own message

// Error returns the reason and the server's own message.
func (e *SizeRuleError) Error() string {
	return "the server counts the sizes of directories by another rule: " + e.Text
}

// ServerError reports that a server cannot be reached, or refuses to serve, whatever it was asked for. Messages name the
// server then, and not the object.
type ServerError struct {
	Server string // as users name it, without secrets
	Err    error
}

// Error returns the server and the reason.
func (e *ServerError) Error() string { return e.Server + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *ServerError) Unwrap() error { return e.Err }

// IsServerError reports whether err is or wraps a *ServerError: nothing is known of what was asked for, so it is neither
// damaged nor missing.
func IsServerError(err error) bool {
	_, ok := errors.AsType[*ServerError](err)
	return ok
}

// CorruptError reports stored bytes that do not match their digest or the store's record of them.
// IsNotFound is false for it.
type CorruptError struct {
	Digest Digest // of the object that was asked for; zero if the damage is not to one object
	Where  string // file and offset, or "" if the store does not know
	Err    error  // what is wrong
}

// Error names the object, the file and the reason, if they are known.
func (e *CorruptError) Error() string {
	s := "corrupt"
	if e.Digest != (Digest{}) {
		s = fmt.Sprintf("%s: corrupt", e.Digest)
	}
	if e.Where != "" {
		s += " at " + e.Where
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *CorruptError) Unwrap() error { return e.Err }

// IsCorrupt reports whether err is or wraps a *CorruptError: something is damaged, rather than absent or out of reach.
func IsCorrupt(err error) bool {
	_, ok := errors.AsType[*CorruptError](err)
	return ok
}

// ErrDigestMismatch is the reason of a CorruptError whose bytes do not hash to their name.
var ErrDigestMismatch = errors.New("digest mismatch")

// About returns err with the object that it is about before it, as in "directory DIGEST: not found", unless it says that
// itself. kind is "blob", "directory" or "root".
func About(kind string, d Digest, err error) error {
	switch text := err.Error(); {
	case strings.HasPrefix(text, kind+" "+d.String()):
		return err
	case strings.HasPrefix(text, d.String()):
		return fmt.Errorf("%s %w", kind, err)
	}
	return fmt.Errorf("%s %s: %w", kind, d, err)
}
