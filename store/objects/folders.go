package objects

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// readFolder returns the names of what is in a folder, which is "" or ends with a slash, as do those names that are
// folders. Of a folder that is not there it returns none.
type readFolder func(ctx context.Context, folder string) ([]string, error)

// listFolders is Bucket.List for Buckets that have folders.
func listFolders(ctx context.Context, prefix, after string, read readFolder) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var list func(folder string) bool // returns whether more names are wanted
		list = func(folder string) bool {
			names, err := read(ctx, folder)
			if err != nil {
				yield("", err)
				return false
			}
			slices.Sort(names)
			for _, name := range names {
				switch {
				case !strings.HasSuffix(name, "/"):
					if strings.HasPrefix(name, prefix) && name > after && !yield(name, nil) {
						return false
					}
				case (strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name)) &&
					(name > after || strings.HasPrefix(after, name)):
					if !list(name) {
						return false
					}
				}
			}
			return true
		}
		list(prefix[:strings.LastIndexByte(prefix, '/')+1])
	}
}
