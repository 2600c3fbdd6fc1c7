package cmd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/store"
)

// foreignCommands is what other programs call what castar has by another name.
func foreignCommands() map[string]string {
	return map[string]string{
		"snapshots": "log", "history": "log", "list": "ls", "dir": "ls", "tree": "ls", "show": "cat", "dump": "cat",
		"backup": "ingest", "create": "ingest", "commit": "ingest", "import": "ingest", "store": "ingest", "put": "ingest",
		"restore": "export", "extract": "export", "checkout": "export", "get": "export", "clone": "copy", "push": "copy",
		"pull": "copy", "sync": "copy", "delete": "forget", "rm": "forget", "remove": "forget", "compact": "gc", "clean": "gc",
		"status": "stats", "info": "stat", "grep": "find", "tags": "tag", "branch": "tag", "rebuild-index": "repair",
		"recover": "repair", "http": "serve", "daemon": "serve",
	}
}

// unknownCommand is the error for a name that is not that of a command. what says what it should have been.
func unknownCommand(app *cli.App, what, name string) error {
	var names []string
	for _, c := range app.VisibleCommands() {
		names = append(names, c.Names()...)
	}
	return unknownWord(what, name, cmp.Or(foreignCommands()[name], nearest(name, names)))
}

// unknownTopic is the error for a word that is not a command or a topic.
func unknownTopic(app *cli.App, name string) error {
	if near := nearest(name, slices.Collect(maps.Keys(topics()))); near != "" {
		return unknownWord("topic", name, near)
	}
	return unknownCommand(app, "command or topic", name)
}

// unknownWord is the error for a name that does not exist. It suggests near, unless that is "".
func unknownWord(what, name, near string) error {
	err := fmt.Errorf("unknown %s %s", what, quote(name))
	if near != "" {
		err = fmt.Errorf("%w, did you mean %s?", err, near)
	}
	return &failure{err: err, status: statusUsage, hint: "see 'castar --help'"}
}

// suggestRoot returns a hint at what ref may have meant, after it was not found, or "".
func suggestRoot(ctx context.Context, st *store.Store, ref string, err error) string {
	if !store.IsNotFound(err) || st.Tags == nil || strings.HasPrefix(ref, "b3:") {
		return ""
	}
	root, path, _ := strings.Cut(ref, ":")
	var names []string
	tags, _ := readTags(ctx, st)
	for _, t := range tags {
		name := t.Name
		names = append(names, name)
		switch {
		case name == root && path != "":
			return fmt.Sprintf("'castar ls %s' lists what is in %s", quote(name), quote(name))
		case path == "" && strings.HasPrefix(root, name+"/"):
			return fmt.Sprintf("did you mean %s?", quote(name+":"+strings.TrimPrefix(root, name+"/")))
		}
	}
	if near := nearest(root, names); near != "" {
		if path != "" {
			near += ":" + path
		}
		return fmt.Sprintf("did you mean %s?", quote(near))
	}
	if n := len(root); n >= 4 && n < store.MinPrefixLen && strings.Trim(root, "0123456789abcdefABCDEF") == "" {
		return fmt.Sprintf("a digest needs %d or more hexadecimal digits", store.MinPrefixLen)
	}
	return ""
}

// nearest returns the one of names that is the fewest edits from s, or "" if all are further away than a typo: two edits,
// or one in a short word.
func nearest(s string, names []string) string {
	best, limit := "", 2
	if len(s) < 5 {
		limit = 1
	}
	for _, n := range names {
		if d := edits(s, n); len(n) > 1 && d <= limit {
			best, limit = n, d-1
		}
	}
	return best
}

// edits returns how many insertions, deletions, replacements and swaps of neighbours lead from a to b.
func edits(a, b string) int {
	var before, last []int // the rows of a[:i-1] and a[:i]
	for i := 0; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		for j := range row {
			switch {
			case i == 0 || j == 0:
				row[j] = i + j
				continue
			case a[i-1] == b[j-1]:
				row[j] = last[j-1]
				continue
			}
			row[j] = 1 + min(last[j-1], last[j], row[j-1])
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], 1+before[j-2])
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
