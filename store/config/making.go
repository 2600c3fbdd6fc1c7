package config

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"castar/store"
	"castar/store/packed"
)

// A slip of the pen must not make a store: a store is made only in a folder that exists, and not in the place of a file
// system that is not mounted.

// NoPlaceError says why no store is made in Folder. It is store.ErrNoStore.
type NoPlaceError struct {
	Folder  string // of the store
	Missing string // the folder that does not exist, or the mount point where nothing is mounted
	Mount   bool   // Missing is a mount point
}

// Error names the folder and what is missing.
func (e *NoPlaceError) Error() string {
	if e.Mount {
		return fmt.Sprintf("%s: %v: nothing is mounted on %s", e.Folder, store.ErrNoStore, e.Missing)
	}
	return fmt.Sprintf("%s: %v, and no folder %s to make one in", e.Folder, store.ErrNoStore, e.Missing)
}

// Unwrap returns store.ErrNoStore.
func (e *NoPlaceError) Unwrap() error { return store.ErrNoStore }

// Settings are what a packed store keeps from its making on.
type Settings struct {
	Rule        *store.SizeRule // nil: that of the composition file
	ChunkSize   int             // of chunks on average, in bytes; 0: the default
	Compression string          // fastest, default, better or best; "": fastest
}

// Init makes the packed store that spec names, with the Parents, MountsDir and OnMade of o. A store that exists is an error,
// and so is every other kind of store: putting something makes it, and it keeps no settings.
func Init(ctx context.Context, spec string, s Settings, o Options) error {
	e, err := parse(spec)
	if err != nil {
		return err
	}
	k, ok := e.directories.kind.(*packedKind)
	if !ok || e.blobs != e.directories {
		return fmt.Errorf("store %s: %w: only packed stores need to be made", quoteSpec(spec), store.ErrUnsupported)
	}
	k.settings = s
	if s.Rule != nil {
		k.Rule = s.Rule
	}
	o.Create, o.New, o.Wait = true, true, -1
	st, err := build(ctx, e, o)
	if err != nil {
		return err
	}
	return st.Close()
}

// hasStore reports whether a folder has a store of the kind: for objects, anything.
func hasStore(k kind, folder string) bool {
	if _, ok := k.(*packedKind); ok {
		return packed.Exists(folder)
	}
	entries, err := os.ReadDir(folder)
	return err == nil && len(entries) > 0
}

// checkPlace reports why a store must not be made in a folder where there is none.
func checkPlace(folder string, o Options) error {
	if points, err := os.Open("/etc/fstab"); err == nil {
		defer points.Close()
		if point := unmounted(points, folder); point != "" {
			return &NoPlaceError{folder, point, true}
		}
	}
	was := knownMount(o.MountsDir, folder)
	if now := mountPoint(folder); !o.New && was != "" && was != now {
		return &NoPlaceError{folder, was, true}
	}
	parent := filepath.Dir(folder)
	if _, err := os.Stat(parent); !o.Parents && errors.Is(err, fs.ErrNotExist) {
		return &NoPlaceError{folder, parent, false}
	}
	return nil
}

// unmounted returns the innermost mount point around folder that fstab, a table as in fstab(5), names, if nothing is
// mounted there. Otherwise it returns "".
func unmounted(fstab io.Reader, folder string) string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	point := ""
	for lines := bufio.NewScanner(fstab); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		p := filepath.Clean(unescape.Replace(fields[1]))
		around := p == folder || strings.HasPrefix(folder, strings.TrimSuffix(p, "/")+"/")
		if filepath.IsAbs(p) && around && len(p) > len(point) {
			point = p
		}
	}
	if point == "" || mountPoint(point) == point {
		return ""
	}
	return point
}

// mountPoint returns the outermost folder above path, or path itself, in the same file system. If path does not exist, the
// folder above it that does counts.
func mountPoint(path string) string {
	device := func(path string) (uint64, bool) {
		fi, err := os.Stat(path)
		if err != nil {
			return 0, false
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		return uint64(st.Dev), ok
	}
	for {
		above := filepath.Dir(path)
		here, there := device(path)
		up, ok := device(above)
		if above == path || there && (!ok || here != up) {
			return path
		}
		path = above
	}
}

// What is remembered of a store is a file in a folder for that: the mount point under which it was.

// mountFile returns the file about the store in folder, an absolute path.
func mountFile(dir, folder string) string {
	return filepath.Join(dir, "stores", store.Sum([]byte(folder)).String()[:32])
}

// knownMount returns the mount point under which a store was used in folder, or "" if none is remembered.
func knownMount(dir, folder string) string {
	if dir == "" {
		return ""
	}
	text, _ := os.ReadFile(mountFile(dir, folder))
	point, _, _ := strings.Cut(string(text), "\x00")
	return point
}

// rememberMount keeps in the folder dir under which mount point the store in folder is. It is help and no promise: an error is no reason
// to stop.
func rememberMount(folder, dir string) {
	point := mountPoint(folder)
	if dir == "" || knownMount(dir, folder) == point {
		return
	}
	file := mountFile(dir, folder)
	if os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = os.WriteFile(file, []byte(point+"\x00"+folder+"\n"), 0o600)
	}
}
