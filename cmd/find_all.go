package cmd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"castar/store"
	"castar/store/tree"
)

// jsonVersion is a line of castar find --all --json.
type jsonVersion struct {
	jsonPath
	jsonNode
	Lines []int    `json:"lines" help:"the numbers of the lines of 'castar log' in which it is"` // never null
	Tags  []string `json:"tags"`                                                                 // likewise
}

func (jsonVersion) lineType() string { return "version" }

// findAll lists what matches in all that the log and the tags name: each version of it, and where it is.
func (e *env) findAll(ctx context.Context, st *store.Store, m matcher) error {
	kept := tree.ReadKept(ctx, st)
	unread := slices.Concat(kept.TagErrors, kept.LogErrors)
	for _, err := range unread {
		if store.IsServerError(err) {
			return err
		}
		e.warn("find", err.Error())
	}
	slices.Reverse(kept.Ingests) // line 1 is the newest
	var roots []store.Node
	for _, t := range slices.Concat(kept.Ingests, kept.Tags) {
		if t.Root.Kind != store.KindDirectory && t.Source != "" {
			t.Root.Name = filepath.Base(t.Source)
		}
		roots = append(roots, t.Root)
	}
	if len(roots) > 0 {
		st.Expect(ctx, roots[0]) // most of the others is in it
	}
	out := e.newLinePrinter(false)
	var at []int // which roots have the entry
	where := func() (lines []int, tags []string) {
		split, _ := slices.BinarySearch(at, len(kept.Ingests))
		lines, tags = []int{}, []string{}
		for _, i := range at[:split] {
			lines = append(lines, i+1)
		}
		for _, i := range at[split:] {
			tags = append(tags, kept.Tags[i-len(kept.Ingests)].Name)
		}
		return lines, tags
	}
	err := e.walk(ctx, "find", func(yield func(tree.Entry, error) bool) {
		for v, err := range tree.Versions(ctx, st.Directories, roots, m.search()) {
			if at = v.In; err != nil && !store.IsServerError(err) {
				err = fmt.Errorf("%s: %w", rootNames(where()), err)
			}
			if !yield(tree.Entry{Path: v.Path, Node: v.Node, Depth: 1}, err) {
				return
			}
		}
	}, func(v tree.Entry) {
		lines, tags := where()
		if e.json {
			out.json(jsonVersion{newJSONPath(v.Path), newJSONNode(v.Node), lines, tags})
			return
		}
		text := (&lsFlags{long: true}).longFields(nil, v.Path, v.Node) + out.name(v.Path, v.Node.Kind == store.KindDirectory)
		if v.Node.Kind == store.KindSymlink {
			text += " -> " + quote(v.Node.Target)
		}
		out.line(text + "  " + rootNames(lines, tags))
	})
	out.Flush()
	if err == nil && len(unread) > 0 {
		err = errPartial
	}
	return err
}

// maxSpans is how many runs of lines are printed.
const maxSpans = 12

// rootNames says for people where something is: in lines, such as @1-@3, and behind tags.
func rootNames(lines []int, tags []string) string {
	var names []string
	for len(lines) > 0 && len(names) < maxSpans {
		n := 1
		for n < len(lines) && lines[n] == lines[0]+n {
			n++
		}
		name := fmt.Sprint("@", lines[0])
		if n > 1 {
			name += fmt.Sprint("-@", lines[n-1])
		}
		names, lines = append(names, name), lines[n:]
	}
	if len(lines) > 0 {
		names = append(names, fmt.Sprintf("and %d more", len(lines)))
	}
	return quoteAll(append(names, tags...), " ")
}
