package cmd

import (
	"context"
	"fmt"
	"strings"

	"castar/store"
)

// foreignCommands is what other programs call what castar has by another name.
func foreignCommands() map[string]string {
	return map[string]string{
		"snapshots": "log", "history": "log", "list": "ls", "dir": "ls", "tree": "ls", "show": "cat", "dump": "cat",
		"backup": "ingest", "create": "ingest", "commit": "ingest", "import": "ingest", "store": "ingest", "put": "ingest",
		"restore": "export", "extract": "export", "checkout": "export", "get": "export", "clone": "copy", "push": "copy",
		"pull": "copy", "sync": "copy", "delete": "forget", "rm": "forget", "remove": "forget", "compact": "gc", "clean": "gc",
		"status": "stats", "du": "stats", "info": "stat", "grep": "find", "tags": "tag", "branch": "tag", "rebuild-index": "repair",
		"recover": "repair", "http": "serve", "daemon": "serve",
	}
}

// suggestRoot returns a hint at what ref may have meant, after it was not found, or "".
func suggestRoot(ctx context.Context, st *store.Store, ref string, err error) string {
	if !store.IsNotFound(err) || st.Tags == nil || strings.HasPrefix(ref, "b3:") {
		return ""
	}
	root, path, _ := strings.Cut(ref, ":")
	var names []string
	for t, err := range st.Tags.All(ctx) {
		if err == nil {
			names = append(names, t.Name)
		}
	}
	for _, name := range names {
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
