package config

import (
	"bufio"
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
	was := recall(o.Memory, folder)
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

// What is remembered of a store is a file in a folder of memory: the mount point under which it was.

// memoryOf returns the file about the store in folder, an absolute path.
func memoryOf(memory, folder string) string {
	return filepath.Join(memory, "stores", store.Sum([]byte(folder)).String()[:32])
}

// recall returns the mount point under which a store was used in folder, or "" if none is remembered.
func recall(memory, folder string) string {
	if memory == "" {
		return ""
	}
	text, _ := os.ReadFile(memoryOf(memory, folder))
	point, _, _ := strings.Cut(string(text), "\x00")
	return point
}

// remember keeps in memory under which mount point the store in folder is. It is help and no promise: an error is no reason
// to stop.
func remember(folder, memory string) {
	point := mountPoint(folder)
	if memory == "" || recall(memory, folder) == point {
		return
	}
	file := memoryOf(memory, folder)
	if os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = os.WriteFile(file, []byte(point+"\x00"+folder+"\n"), 0o600)
	}
}
