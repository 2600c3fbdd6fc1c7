package cmd

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"castar/ingest/sides"
	"castar/store"
	"castar/store/tree"
	"castar/store/tree/patch"
)

// diffPrinter prints changes in the form that the flags select.
type diffPrinter struct {
	e        *env
	f        *diffFlags
	sides    [2]*sides.Side
	out      *linePrinter
	patch    patch.Writer
	color    bool
	parts    map[patch.Part]string // the colors of a patch
	ops      map[tree.Op]string    // and of changes
	terminal bool                  // control characters are shown
	differs  bool                  // something changed
	facts    [2]*factsReader       // with --metadata
}

func (e *env) newDiffPrinter(f *diffFlags, both [2]*sides.Side) *diffPrinter {
	p := &diffPrinter{e: e, f: f, sides: both, out: e.newLinePrinter(f.null), color: e.wantsColor() && !f.null,
		terminal: e.isTerminal(), ops: map[tree.Op]string{tree.Added: colorGreen, tree.Removed: colorRed},
		parts: map[patch.Part]string{patch.Head: colorBold, patch.Hunk: colorCyan, patch.Added: colorGreen, patch.Removed: colorRed}}
	p.patch = patch.Writer{New: both[1].Directories, Line: p.patchLine,
		Contents: func(ctx context.Context, side int, path string, n store.Node) ([]byte, error) {
			return both[side].Contents(ctx, path, n)
		}}
	return p
}

// change takes the next change.
func (p *diffPrinter) change(ctx context.Context, c *tree.Change) error {
	p.differs = true
	switch {
	case p.f.patch:
		return p.patch.Change(ctx, c)
	case p.f.nameOnly:
		p.out.line(p.out.name(c.Path, c.IsDirectory()))
	case p.e.json:
		p.out.json(p.newJSONDiff(c))
	default:
		p.line(c)
	}
	return nil
}

// count prints how much changed.
func (p *diffPrinter) count(ctx context.Context) error {
	s, err := tree.CountDiff(ctx, p.sides[0].Side, p.sides[1].Side, p.f.options)
	if err != nil {
		return err
	}
	stat := jsonDiffStat{DiffStat: s}
	if err := stat.finish(ctx, p.sides); err != nil {
		return err
	}
	p.differs = s != tree.DiffStat{}
	if p.e.json {
		p.out.json(stat)
	} else {
		p.printStat(&stat)
	}
	return p.out.Flush()
}

// SGR sequences (ECMA-48) in the colors of git.
const (
	colorBold  = "\x1b[1m"
	colorRed   = "\x1b[31m"
	colorGreen = "\x1b[32m"
	colorCyan  = "\x1b[36m"
	colorNone  = "\x1b[m"
)

// paint returns text in a color, or unchanged if the color is "" or there are no colors.
func (p *diffPrinter) paint(color, text string) string {
	if !p.color || color == "" {
		return text
	}
	return color + text + colorNone
}

// patchLine prints a line of a patch. A terminal gets colors, and does not obey what is in files.
func (p *diffPrinter) patchLine(part patch.Part, line []byte) {
	if !p.terminal {
		p.out.Write(line)
		p.out.WriteByte(p.out.end)
		return
	}
	p.out.line(p.paint(p.parts[part], string(appendVisible(nil, line))))
}

func (p *diffPrinter) line(c *tree.Change) {
	between := " -> "
	if p.f.null {
		between = "\x00"
	}
	text := p.out.name(c.Path, c.IsDirectory())
	if c.Op == tree.Renamed {
		text = p.out.name(c.From, c.IsDirectory()) + between + text
	}
	p.out.line(p.paint(p.ops[c.Op], string(c.Op)+" "+text))
}

// jsonDiff is a line of castar diff --json.
type jsonDiff struct {
	tree.JSONChange
	OldMetadata *jsonFacts `json:"old_metadata,omitempty" help:"of p, t and o"`
	NewMetadata *jsonFacts `json:"new_metadata,omitempty" help:"the same fields"`
}

func (jsonDiff) lineType() string { return "change" }

func (p *diffPrinter) newJSONDiff(c *tree.Change) jsonDiff {
	j := jsonDiff{JSONChange: tree.NewJSONChange(c)}
	if c.Op == changedMode || c.Op == changedTime || c.Op == changedOwner {
		old, _ := p.facts[0].findKind(c.Path, &c.New)
		is, _ := p.facts[1].find(c.Path, &c.New)
		j.Old, j.New = nil, nil
		j.OldMetadata, j.NewMetadata = new(newJSONFacts(&old)), new(newJSONFacts(&is))
	}
	return j
}

// jsonDiffStat is what castar diff --stat --json prints.
type jsonDiffStat struct {
	tree.DiffStat
	EntriesOld uint64  `json:"entries_old"` // all there are in A
	EntriesNew uint64  `json:"entries_new"` // all there are in B
	Share      float64 `json:"share" help:"of the entries of either that are added, removed or changed: 0 to 1"`
}

func (jsonDiffStat) lineType() string { return "summary" }

// finish adds what is known about the whole trees.
func (j *jsonDiffStat) finish(ctx context.Context, both [2]*sides.Side) error {
	for i, to := range []*uint64{&j.EntriesOld, &j.EntriesNew} {
		s := both[i]
		rule, _, err := tree.SizeRule(ctx, s.Directories, s.Root)
		if err == nil {
			*to, err = tree.CountEntries(ctx, s.Directories, s.Root, rule)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", quote(s.Arg), err)
		}
	}
	touched := float64(j.Added) + float64(j.Removed) + float64(j.Changed)
	// A changed root is an entry of nothing, so it is counted nowhere else.
	if all := max(float64(j.EntriesOld)+float64(j.Added), touched); all > 0 {
		j.Share = touched / all
	}
	return nil
}

func (p *diffPrinter) printStat(j *jsonDiffStat) {
	w := newTable(p.out)
	fmt.Fprintf(w, "added\t%s\t%s\n", number(j.Added), store.HumanBytes(j.BytesAdded))
	fmt.Fprintf(w, "removed\t%s\t%s\n", number(j.Removed), store.HumanBytes(j.BytesRemoved))
	fmt.Fprintf(w, "changed\t%s\t%s, before %s\n", number(j.Changed), store.HumanBytes(j.BytesNew), store.HumanBytes(j.BytesOld))
	fmt.Fprintf(w, "renamed\t%s\n", number(j.Renamed))
	fmt.Fprintf(w, "share\t%s\tof all entries are added, removed or changed: %d before, %d after\n", percent(j.Share), j.EntriesOld, j.EntriesNew)
	w.Flush()
}

// number returns a number that may have been too large to count.
func number(n uint64) string {
	if n == math.MaxUint64 {
		return fmt.Sprintf("%d or more", n)
	}
	return strconv.FormatUint(n, 10)
}

// percent returns a share. A little is never shown as 0 %, and nearly all is never shown as 100 %.
func percent(share float64) string {
	switch text := strings.TrimSuffix(fmt.Sprintf("%.2f", 100*share), ".00"); {
	case share > 0 && text == "0":
		return "< 0.01 %"
	case share < 1 && text == "100":
		return "> 99.99 %"
	default:
		return text + " %"
	}
}
