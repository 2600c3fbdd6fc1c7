// Package advice says what a user of castar can do about damage and about a refusal. Each text is one line.
package advice

import (
	"context"
	"errors"

	"castar/store"
	"castar/store/tree"
)

// OnFinding says what to do about damage that tree.Verify found. repairable says that the store can check and repair
// its own files. The result is "" if there is nothing to say.
func OnFinding(f tree.Finding, repairable bool) string {
	if !repairable && f.Kind == 0 && f.Where == "" { // verify could not even look at it
		return "check permissions and the connection to the store, and verify again"
	}
	switch f.What {
	case store.DamageConfig, store.DamageIndex, store.DamagePack, store.DamageFrame:
		return "'castar repair' restores what can be restored"
	case store.DamageTag:
		if errors.Is(f.Err, store.ErrTagsLost) {
			return "set the tags again: 'castar log' lists the roots; then run 'castar gc --all', which also clears this finding"
		}
		return "set the tag again: 'castar log' lists the roots"
	case store.DamageLog:
		if !repairable {
			return "remove this object; what it names is lost unless another line of the log or a tag names it too"
		}
		return "'castar repair' drops the line; what it named is lost at the next gc, unless another line or a tag names it too"
	case store.DamageSize:
		return "the tree was made with this size; ingest it again"
	case store.DamageDepth:
		return "only verify and gc look below this depth"
	case store.DamageUnreadable:
		return "check permissions and the disk, and verify again"
	case store.DamageObject, store.DamageMissing, store.DamageAssembly:
		return onObject(f, repairable)
	}
	return ""
}

// onObject says what to do about an object that is damaged or missing.
func onObject(f tree.Finding, repairable bool) string {
	switch {
	case f.Unreached:
		return "no tag and no line of the log reaches it: 'castar gc' removes it"
	case !repairable: // an ingest takes a damaged object there for a good one
		return "'castar copy' copies what is whole to another store; ingest the same files there"
	}
	return "ingest the same files again, or run 'castar repair --from STORE'"
}

// onNewer says what to do about what a newer castar wrote.
const onNewer = "it is not damaged: use a newer castar; this one does not change it"

// OnError says what to do about an error of a store, or "".
func OnError(err error) string {
	damage := (*store.CorruptError)(nil)
	switch {
	case errors.As(err, &damage):
		return "'castar verify' lists what is damaged, and what to do about it"
	case errors.Is(err, store.ErrNewer):
		return onNewer
	case errors.Is(err, store.ErrNoConfig):
		return "'castar repair' makes a new config"
	case errors.Is(err, store.ErrNoStore):
		return "'castar ingest' makes a store in a new or empty folder; -s or CASTAR_STORE names it"
	case errors.Is(err, store.ErrLocked):
		return "wait until the other process is done"
	}
	return ""
}

// OnRefusedGC says what to do if a gc cannot find out what is alive: err says why. isLog says that it is about a line of the
// log that cannot be read.
func OnRefusedGC(err error, isLog bool) string {
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, store.ErrNewer):
		return onNewer
	case errors.Is(err, store.ErrTagsLost):
		return "set them again with 'castar tag'; 'castar log' lists the roots; then --all removes what neither tags nor log keep"
	case isLog:
		return "'castar repair' drops such lines; then gc removes what no other line and no tag names"
	}
	return "'castar verify' says what is damaged, 'castar repair --from STORE' fetches what is missing, 'castar forget' gives up an ingest"
}
