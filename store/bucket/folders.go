package bucket

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// ReadFolder returns the names in a folder. The folder is "" or ends with a slash, and so do the names of folders in it.
// A folder that does not exist has no names.
type ReadFolder func(ctx context.Context, folder string) ([]string, error)

// ListFolders implements Bucket.List for a Bucket that has folders.
func ListFolders(ctx context.Context, prefix, after string, read ReadFolder) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var list func(folder string) bool // reports whether the caller wants more names
		list = func(folder string) bool {
			names, err := read(ctx, folder)
			if err != nil {
				yield(Object{}, err)
				return false
			}
			slices.Sort(names)
			for _, name := range names {
				switch {
				case !strings.HasSuffix(name, "/"):
					if strings.HasPrefix(name, prefix) && name > after && !yield(Object{Name: name, Size: -1}, nil) {
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
