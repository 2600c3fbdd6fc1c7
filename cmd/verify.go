package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
)

const verifyHelp = `
Checks the whole store, or what each ROOT reaches, and reports on each of these claims:

  objects     every stored object hashes to its name
  references  everything that trees refer to exists, and no tree has more than 8192 directories inside each other
  sizes       every recorded size is right
  chunks      every file that is stored in chunks hashes to its name when it is put together
  files       the store's own files are whole

Without a ROOT, verify checks all of a packed store. In any other store, it checks only what tags or ROOTs reach, so it
needs a tag or a ROOT.

verify lists all damage: what is damaged and where, which paths of which tags (or ROOTs) it affects, and what to do
about it. It records damaged objects in the store, unless --dry-run is given. A later ingest of the same contents then
stores them again. If a recorded object is whole again, verify removes its record. With -v, it also lists harmless
findings.

Other processes may use the store at the same time. A gc waits. With -q, nothing is printed if all is well.

--structure reads no file contents. --sample reads a part of them, such as 5% or 1/20, and each run reads the next
part: with 5%, twenty runs read everything. --max-duration stops reading contents after a time, such as 90s or 10m,
and the next run with it continues there. Directories and the store's own records are always checked in full.

With --json, there is one object a line. Its type is
  progress  once a second: bytes, total (so far), objects, damaged
  finding   what (config, index, pack, frame, tag, log, state, unknown, object, missing, size, assembly, unreadable or
            depth), claim, harmless, where, reason, advice; for a damaged object kind (directory or blob) and digest;
            blobs (the files in chunks that are lost with it); and hits: roots, paths (each has path, and path_base64
            if it is not UTF-8; an empty path is the root itself), more (the number of other paths), at_least (more is
            a lower bound)
  summary   claims (the number of findings against each), harmless_findings, roots, directories, files, objects, bytes
            (read), assembled (files put together from chunks), recorded (objects newly recorded as damaged), released
            (recorded objects found whole), not_recorded (the reason), newer (the reasons why something that a newer
            castar wrote was not checked), part and parts (with --sample: which part of how many), resumed and stopped
            (with --max-duration: where the last run stopped, and where this one did), seconds

What a newer castar wrote is not damage, but verify cannot check it. verify then prints what it did not check, and why.

The exit status is 0 if there is no damage, 3 if there is, and 1 if verify could not finish or could not check
everything.

Examples:
  castar verify                          # everything
  castar verify --sample 1/20 -q         # nightly: everything in 20 days
  castar verify src:doc                  # a part of one tree`

func (e *env) verifyCommand() *cli.Command {
	var o tree.VerifyOptions
	return &cli.Command{
		Name:        "verify",
		Aliases:     []string{"check", "fsck"},
		Usage:       "check that what is stored is whole",
		UsageText:   "castar verify [flags] [ROOT[:path]...]",
		Description: verifyHelp,
		Flags: []cli.Flag{
			boolFlag("structure", "", &o.Structure, "read no file contents"),
			sampleFlag(&o.Parts),
			durationFlag("max-duration", &o.MaxDuration, "no limit",
				"stop reading contents after `DURATION`, such as 10m, and continue there next time"),
			boolFlag("dry-run", "n", &o.NoRecord, "write nothing to the store"),
		},
		Action: func(c *cli.Context) error {
			timed := c.IsSet("max-duration")
			switch {
			case count(o.Structure, o.Parts > 0, timed) > 1:
				return usagef("--structure, --sample and --max-duration exclude each other")
			case timed && o.MaxDuration <= 0:
				return usagef("--max-duration must be more than 0s")
			case timed && c.Args().Present():
				return usagef("--max-duration works only without a ROOT")
			}
			return e.verify(c.Context, &o, c.Args().Slice())
		},
	}
}

// maxParts bounds --sample: less than a millionth is a mistake.
const maxParts = 1_000_000

// sampleFlag returns --sample. It sets into how many parts to cut the contents, so that one is as large as the value says,
// or a little larger.
func sampleFlag(to *int) cli.Flag {
	usage := "read `PART` of the contents of files, such as 5% or 1/20, and the next part next time"
	return newFlag("sample", "", to, "everything", usage, "a part such as 5% or 1/20", func(value string) (int, error) {
		part, whole, ratio := strings.Cut(value, "/")
		if !ratio {
			part, ratio = strings.CutSuffix(value, "%")
			whole = "100"
		}
		a, err := strconv.ParseFloat(part, 64)
		b, berr := strconv.ParseFloat(whole, 64)
		if err != nil || berr != nil || !ratio || !(a > 0) || !(b >= a) || !(b/a <= maxParts) {
			return 0, errUnwanted
		}
		return int(b / a), nil
	})
}

func (e *env) verify(ctx context.Context, o *tree.VerifyOptions, refs []string) error {
	st, err := e.openDamaged(ctx, o.NoRecord)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, ref := range refs {
		node, err := resolveDamaged(ctx, st, ref)
		if err != nil {
			return err
		}
		o.Roots = append(o.Roots, tree.Root{Name: ref, Node: node})
	}
	o.Progress = &store.ScrubProgress{}
	out := &verified{env: e, foreign: st.Scrubber == nil, options: o}
	began := time.Now()
	stop := out.progress(o.Progress)
	result, err := tree.Verify(ctx, st, *o, out.finding)
	stop()
	if err != nil && isDamaged(result) { // whatever the rest is
		e.warn("could not finish: " + err.Error())
		return errPartial
	}
	if err != nil {
		return err
	}
	return out.summary(result, time.Since(began))
}

// openDamaged opens the store even if it is damaged, and for writing if that is allowed.
func (e *env) openDamaged(ctx context.Context, readOnly bool) (*store.Store, error) {
	o := e.patient(config.Options{ReadOnly: readOnly, Tolerate: true})
	st, err := e.open(ctx, "", o)
	if !readOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		o.ReadOnly = true
		st, err = e.open(ctx, "", o)
	}
	return st, err
}

// resolveDamaged is resolve, but it also finds a root directory that is damaged.
func resolveDamaged(ctx context.Context, st *store.Store, ref string) (store.Node, error) {
	node, err := resolve(ctx, st, ref)
	if damage, ok := errors.AsType[*store.CorruptError](err); ok {
		d, perr := store.ParseDigest(ref)
		if store.IsDigestPrefix(ref) && strings.HasPrefix(damage.Digest.String(), strings.ToLower(ref)) {
			d, perr = damage.Digest, nil
		}
		if perr == nil {
			if _, gerr := st.Directories.Get(ctx, d); !store.IsNotFound(gerr) {
				return store.Node{Kind: store.KindDirectory, Digest: d, Size: maxDirectorySize}, nil
			}
		}
	}
	return node, err
}

// maxDirectorySize is the size of a directory that cannot be read: one that is too large does no harm.
const maxDirectorySize = 1<<64 - 1

// verified is what a verify finds on its way to stdout.
type verified struct {
	env     *env
	foreign bool // the store cannot check its own files
	options *tree.VerifyOptions
	mu      sync.Mutex // for stdout
}

// jsonVerifying is a line of castar verify --json that says how far the check is.
type jsonVerifying struct {
	Bytes   uint64 `json:"bytes"`
	Total   uint64 `json:"total"`
	Objects uint64 `json:"objects"`
	Damaged uint64 `json:"damaged"`
}

func (jsonVerifying) lineType() string { return "progress" }

// jsonVerified is the last line of castar verify --json.
type jsonVerified struct {
	Claims      map[store.Claim]uint64 `json:"claims"` // findings against each
	Harmless    uint64                 `json:"harmless_findings"`
	Roots       uint64                 `json:"roots"`
	Directories uint64                 `json:"directories"`
	Files       uint64                 `json:"files"`
	Objects     uint64                 `json:"objects"`
	Bytes       uint64                 `json:"bytes"`
	Assembled   uint64                 `json:"assembled"`
	Recorded    int                    `json:"recorded"`
	Released    int                    `json:"released"`
	NotRecorded string                 `json:"not_recorded,omitempty"`
	Newer       []string               `json:"newer,omitempty"` // what a newer castar wrote, and was not checked
	Part        int                    `json:"part,omitempty"`
	Parts       int                    `json:"parts,omitempty"`
	Resumed     string                 `json:"resumed,omitempty"`
	Stopped     string                 `json:"stopped,omitempty"`
	Seconds     float64                `json:"seconds"`
}

func (jsonVerified) lineType() string { return "summary" }

// progress shows how far the check is, as a bar or as JSON, until the function it returns is called.
func (v *verified) progress(p *store.ScrubProgress) (stop func()) {
	printed := time.Now()
	return v.env.startProgress(func() sample {
		if v.env.json && time.Since(printed) >= time.Second {
			printed = time.Now()
			v.print(jsonVerifying{p.Bytes.Load(), p.Total.Load(), p.Objects.Load(), p.Damaged.Load()}, "")
		}
		return sample{files: p.Objects.Load(), bytes: p.Bytes.Load(), total: p.Total.Load(), unit: "objects"}
	})
}

// summary says what was checked. It returns errPartial if something is damaged, and otherwise what could not be checked.
func (v *verified) summary(r tree.VerifyResult, took time.Duration) error {
	switch clean := len(r.Newer) == 0 && len(r.Findings) == 0; {
	case v.env.json:
		v.jsonSummary(r, took)
	case !v.env.quiet || !clean:
		v.table(r)
		v.notes(r)
	}
	var unchecked errorLines
	for i, err := range r.Newer {
		if i == maxWarnings {
			unchecked = append(unchecked, fmt.Errorf("and %d more", len(r.Newer)-i))
			break
		}
		unchecked = append(unchecked, fmt.Errorf("not checked: %w", err))
	}
	if isDamaged(r) {
		for _, err := range unchecked {
			v.env.warn(err.Error())
		}
		return errPartial
	}
	if unchecked != nil {
		return unchecked
	}
	return nil
}

func isDamaged(r tree.VerifyResult) bool {
	return slices.ContainsFunc(allClaims(), func(c store.Claim) bool { return r.Findings[c] > 0 })
}

func (v *verified) jsonSummary(r tree.VerifyResult, took time.Duration) {
	j := jsonVerified{map[store.Claim]uint64{}, r.Harmless, r.Roots, r.Directories, r.Files, r.Objects, r.Bytes,
		r.Assembled, r.Recorded, r.Released, "", nil, r.Part, 0, r.Resumed, r.Stopped, took.Seconds()}
	if r.Part > 0 {
		j.Parts = v.options.Parts
	}
	if r.NotRecorded != nil {
		j.NotRecorded, _ = store.JSONName(r.NotRecorded.Error())
	}
	for _, err := range r.Newer {
		text, _ := store.JSONName(err.Error())
		j.Newer = append(j.Newer, text)
	}
	for _, c := range allClaims() {
		j.Claims[c] = r.Findings[c]
	}
	v.env.stdout.json(j)
}

// allClaims returns the claims in the order of printing.
func allClaims() []store.Claim {
	return []store.Claim{store.ClaimFiles, store.ClaimObjects, store.ClaimReferences, store.ClaimSizes, store.ClaimChunks}
}

func (v *verified) table(r tree.VerifyResult) {
	objects := plural(r.Objects, "object") + " whole"
	chunks := plural(r.Assembled, "file") + " in chunks whole"
	switch {
	case v.options.Structure:
		objects, chunks = plural(r.Objects, "object")+" present; file contents were not read", "not read"
	case r.Part > 0:
		objects += fmt.Sprintf("; part %d of %d of the file contents", r.Part, v.options.Parts)
	}
	text := map[store.Claim]string{
		store.ClaimFiles:      "the store's own files are whole",
		store.ClaimObjects:    objects,
		store.ClaimReferences: fmt.Sprintf("%s, %s, %s complete", plural(r.Roots, "root"), plural(r.Directories, "directory"), plural(r.Files, "file")),
		store.ClaimSizes:      "every recorded size is right",
		store.ClaimChunks:     chunks,
	}
	for _, c := range allClaims() {
		state, n := "ok", r.Findings[c]
		if v.foreign && c == store.ClaimFiles {
			state, text[c] = "-", "not checked in this kind of store, except tags"
		}
		if len(r.Newer) > 0 && c == store.ClaimFiles {
			state, text[c] = "-", plural(uint64(len(r.Newer)), "line or file")+" of a newer castar not checked"
		}
		if n > 0 {
			state = "DAMAGED"
			text[c] = fmt.Sprintf("%d found", n)
			if c == store.ClaimObjects {
				text[c] += "; " + objects
			}
		}
		fmt.Fprintf(v.env.stdout, "%-10s  %-7s  %s\n", c, state, text[c])
	}
}

// notes says what else the user may want to know.
func (v *verified) notes(r tree.VerifyResult) {
	e, recorded := v.env, r.NotRecorded == nil && !v.options.NoRecord
	if r.Resumed != "" {
		e.note("continued where the last run stopped: " + r.Resumed)
	}
	if r.Stopped != "" {
		next := ""
		if recorded {
			next = "; the next run with --max-duration continues there"
		}
		e.note("stopped at " + r.Stopped + next)
	}
	if r.Recorded > 0 && recorded {
		e.note("recorded " + plural(uint64(r.Recorded), "damaged object") + ": an ingest of the same contents stores them again")
	}
	if r.Released > 0 && recorded {
		e.note("removed " + plural(uint64(r.Released), "object") + " from the record of damage: found whole")
	}
	if r.Harmless > 0 && !e.verbose {
		e.note(plural(r.Harmless, "harmless finding") + "; -v lists them")
	}
	switch {
	case r.NotRecorded == nil:
	case errors.Is(r.NotRecorded, store.ErrReadOnly) && v.options.NoRecord:
	case r.Recorded == 0 && r.Released == 0:
		e.warn("progress was not recorded: " + reason(r.NotRecorded))
	default:
		e.warn("damage was not recorded: " + reason(r.NotRecorded))
	}
}
