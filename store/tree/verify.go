package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"castar/store"
)

// VerifyOptions say what to verify. The zero value is the whole store.
type VerifyOptions struct {
	Roots              []Root // only what these reach; nil: everything, with what tags and log keep as roots
	store.ScrubOptions        // except Only, which follows from Roots
}

// Finding is something that Verify found, and what it hits.
type Finding struct {
	store.Damage
	// Hits says where in the trees the damaged object is. It is nil if the damage is to no object or no root reaches it.
	Hits []Hit
	// Unreached says that no tag and no line of the log leads to the damaged object, and that nothing hid a path to it.
	Unreached bool

	entry string // of the directory, if only this entry is damaged
}

// Hit is the same paths in the trees of some roots.
type Hit struct {
	Roots   []string
	Paths   []string // the first ones, raw bytes, as store.ShortPath returns them; "" is the root itself
	More    uint64   // how many more paths there are
	AtLeast bool     // there may be even more: too many to count
}

// VerifyResult is what Verify did.
type VerifyResult struct {
	store.ScrubResult
	Roots       uint64 // whose trees were walked
	Directories uint64 // in these, each once
	Files       uint64 // in these directories
	Findings    map[store.Claim]uint64
	Harmless    uint64 // findings by which nothing is lost
}

// Verify checks that every stored object hashes to its name, that every reference resolves, that every recorded size is
// right, and that every blob of chunks, assembled, hashes to its name. The recorded size of a directory may be more
// than the documented rule gives, but not less.
//
// Verify continues after every finding. It calls found for each, one call at a time. The error only says that Verify
// could not finish. Where a server fails, that is the error, and what was found before has no paths. A store with a
// Scrubber checks itself, and records what is damaged. Of any other store, Verify reads what the roots reach. Then no
// roots, or a MaxDuration, are the error store.ErrUnsupported.
func Verify(ctx context.Context, st *store.Store, o VerifyOptions, found func(Finding)) (VerifyResult, error) {
	if st.Blobs == nil || st.Directories == nil {
		return VerifyResult{}, fmt.Errorf("a store that keeps only blobs or only directories: %w", store.ErrUnsupported)
	}
	if o.Progress == nil {
		o.Progress = new(store.ScrubProgress)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	v := &verifier{ctx: ctx, stop: stop, st: st, o: o, found: found, roots: o.Roots, hits: map[object][]*Finding{}}
	v.result.Findings = map[store.Claim]uint64{}
	if o.Roots == nil {
		v.readTags()
	}
	var err error
	switch {
	case st.Scrubber == nil && len(v.roots) == 0 && v.newer != nil:
		err = errors.Join(v.newer...)
	case st.Scrubber == nil && len(v.roots) == 0: // it would look at nothing, and find nothing wrong
		err = fmt.Errorf("without a tag or root: %w", store.ErrUnsupported)
	case st.Scrubber == nil:
		err = v.readAll()
	case o.Roots == nil:
		err = v.scrub(nil, v.add)
	default:
		err = v.scrubRoots()
	}
	v.result.Newer = append(v.newer, v.result.Newer...)
	if err == nil && st.Scrubber != nil {
		v.walk(v.checkFile)
	}
	if err == nil {
		v.findPaths()
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil && !store.IsServerError(err) {
		return v.result, err
	}
	sure := o.Roots == nil && !v.hidden()
	for _, f := range v.findings {
		f.Unreached = sure && f.Hits == nil && err == nil
		v.report(f)
	}
	return v.result, err
}

// hidden reports whether there may be paths that could not be found.
func (v *verifier) hidden() bool {
	return v.tagUnread || v.cut || slices.ContainsFunc(v.findings, func(f *Finding) bool {
		return f.Kind == store.KindDirectory && f.entry == "" && f.Hits != nil
	})
}

// verifier is one run of Verify.
type verifier struct {
	ctx    context.Context
	stop   context.CancelCauseFunc // ends ctx because a server fails
	st     *store.Store
	o      VerifyOptions
	found  func(Finding)
	roots  []Root
	result VerifyResult

	tagUnread bool    // a tag or a line of the log could not be read
	listings  uint64  // how many of the roots are listings; these do not count
	newer     []error // tags and lines of the log that a newer castar wrote
	cut       bool    // a tree is too deep to look for paths in all of it

	mu       sync.Mutex
	findings []*Finding // of objects, to be reported with their paths
	hits     map[object][]*Finding
	wrong    map[sizedBlob]uint64 // sizes that nodes say, and those that the blobs have
}

// readTags makes what tags and log keep the roots. It comes before the store looks at its records, so these have all that a
// tag reaches, even if the tag was set just now.
func (v *verifier) readTags() {
	kept := ReadKept(v.ctx, v.st)
	v.roots, v.listings = kept.Roots(v.ctx, v.st)
	v.tagUnread = len(kept.TagErrors)+len(kept.LogErrors) > 0
	v.addUnread(store.DamageTag, kept.TagErrors)
	v.addUnread(store.DamageLog, kept.LogErrors)
}

// addUnread takes in errors of tags or lines of the log.
func (v *verifier) addUnread(what store.DamageKind, errs []error) {
	for _, err := range errs {
		if store.IsServerError(err) {
			v.stop(err)
		} else if errors.Is(err, store.ErrNewer) {
			v.newer = append(v.newer, err)
		} else {
			d := store.Damage{What: what}
			d.Where, d.Err = reasonOf(err)
			v.add(d)
		}
	}
}

// add takes in damage. It reports at once what concerns no object.
func (v *verifier) add(d store.Damage) {
	f := &Finding{Damage: d}
	if d.Kind == 0 || d.Harmless {
		v.report(f)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, f)
	v.hit(f, object{d.Kind, d.Digest})
	for _, blob := range d.Also {
		v.hit(f, object{store.KindFile, blob})
	}
}

// addEntry takes in that an entry of a directory, or a root, is not what its node says.
func (v *verifier) addEntry(at *trail, n *store.Node, err error) {
	f := &Finding{Damage: store.Damage{What: store.DamageSize, Kind: store.KindDirectory, Err: err}, entry: n.Name}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, f)
	if at.up == nil {
		f.Kind, f.Digest, f.entry, f.Hits = n.Kind, n.Digest, "", []Hit{{Roots: []string{at.name}, Paths: []string{""}}}
		return
	}
	f.Digest = *at.up.digest
	v.hit(f, object{store.KindDirectory, f.Digest})
}

func (v *verifier) hit(f *Finding, o object) { v.hits[o] = append(v.hits[o], f) }

// isHit reports whether an object is known to be damaged.
func (v *verifier) isHit(k store.Kind, d store.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.hits[object{k, d}], func(f *Finding) bool { return f.entry == "" })
}

// report hands a finding on, unless the object is known only from a damaged record and nothing refers to it.
func (v *verifier) report(f *Finding) {
	if f.Doubtful && f.Hits == nil {
		return
	}
	if f.Harmless {
		v.result.Harmless++
	} else {
		v.result.Findings[f.What.Claim()]++
	}
	v.found(*f)
}

// scrub has the store check itself: all of it, or the objects in only.
func (v *verifier) scrub(only store.ObjectSet, found func(store.Damage)) (err error) {
	o := v.o.ScrubOptions
	o.Only = only
	v.result.ScrubResult, err = v.st.Scrubber.Scrub(v.ctx, o, found)
	return err
}

// scrubRoots has the store check what the roots reach. If something was in the way and proves to be whole, such as a
// directory from the quarantine, it looks again, because there may be more below that.
func (v *verifier) scrubRoots() error {
	for {
		set := NewSet(v.st)
		whole := v.mark(set)
		var all []store.Damage
		if err := v.scrub(set, func(d store.Damage) { all = append(all, d) }); err != nil {
			return err
		}
		if whole || v.result.Released == 0 {
			for _, d := range all {
				v.add(d)
			}
			return nil
		}
	}
}

// reasonOf returns the reason of an error without the object that a finding names anyway.
func reasonOf(err error) (where string, reason error) {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		return c.Where, c.Err
	}
	return "", err
}

// lost takes in that an object cannot be read, unless that is known.
func (v *verifier) lost(k store.Kind, d store.Digest, err error) {
	if store.IsServerError(err) {
		v.stop(err) // a later one does not count
	}
	if v.ctx.Err() != nil || v.isHit(k, d) {
		return
	}
	damage := store.Damage{What: store.DamageUnreadable, Kind: k, Digest: d}
	damage.Where, damage.Err = reasonOf(err)
	switch {
	case store.IsNotFound(err):
		damage.What, damage.Err = store.DamageMissing, store.ErrNotFound
	case damage.Err != err:
		damage.What = store.DamageObject
	}
	v.o.Progress.Damaged.Add(1)
	v.add(damage)
}
