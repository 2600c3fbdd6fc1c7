package ingest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"castar/store/memory"

	"golang.org/x/sys/unix"
)

// at returns Options with a hook that calls f the first times that the walk comes to a moment at path.
func at(m hookMoment, path string, times int32, f func()) Options {
	var done atomic.Int32
	return Options{hook: func(got hookMoment, p string) {
		if got == m && p == path && done.Add(1) <= times {
			f()
		}
	}}
}

// touch makes sure that a change of a file shows even with a coarse clock.
func touch(t testing.TB, path string) {
	var before, after stat
	try(t, before.at(unix.AT_FDCWD, path))
	for n := int64(1); ; n++ {
		when := time.Unix(before.mtime/1e9+n, before.mtime%1e9)
		try(t, os.Chtimes(path, when, when))
		try(t, after.at(unix.AT_FDCWD, path))
		if after.mtime != before.mtime {
			return
		}
	}
}

// change writes v over the file at path in place.
func change(t testing.TB, path, v string) {
	try(t, os.WriteFile(path, []byte(v), 0o644))
	touch(t, path)
}

// replace replaces an entry by a new v.
func replace(t testing.TB, path string, v any) {
	try(t, os.RemoveAll(path))
	plant(t, path, v)
}

func TestChangesOnce(t *testing.T) {
	big := strings.Repeat("big ", mediumFile/4+1)
	medium := big[:smallFile+1]
	tests := []struct {
		name   string
		before any
		when   hookMoment
		change func(t *testing.T, path string)
		after  any
	}{
		{"medium grows big", medium, hookOpened, func(t *testing.T, path string) { change(t, path, big) }, big},
		{"big shrinks to medium", big, hookOpened, func(t *testing.T, path string) { change(t, path, medium) }, medium},
		{"medium changes", medium, hookRead, func(t *testing.T, path string) { change(t, path, medium[1:]+"!") }, medium[1:] + "!"},
		{"content before it is opened", "old", hookFound, func(t *testing.T, path string) { change(t, path, "new") }, "new"},
		{"content before it is read", "old", hookOpened, func(t *testing.T, path string) { change(t, path, "new") }, "new"},
		{"content after it was read", "old", hookRead, func(t *testing.T, path string) { change(t, path, "new") }, "new"},
		{"grows before it is opened", "old", hookFound, func(t *testing.T, path string) { change(t, path, "older") }, "older"},
		{"grows after it was read", "old", hookRead, func(t *testing.T, path string) { change(t, path, "older") }, "older"},
		{"grows from nothing", "", hookOpened, func(t *testing.T, path string) { change(t, path, "x") }, "x"},
		{"grows big", "small", hookOpened, func(t *testing.T, path string) { change(t, path, big) }, big},
		{"shrinks", "old", hookOpened, func(t *testing.T, path string) { change(t, path, "o") }, "o"},
		{"shrinks to nothing", "old", hookOpened, func(t *testing.T, path string) { change(t, path, "") }, ""},
		{"shrinks from big", big, hookOpened, func(t *testing.T, path string) { change(t, path, "small") }, "small"},
		{"big changes", big, hookRead, func(t *testing.T, path string) { change(t, path, big[1:]+"!") }, big[1:] + "!"},
		{"becomes executable", "run", hookRead, func(t *testing.T, path string) { try(t, os.Chmod(path, 0o755)); touch(t, path) }, exec("run")},
		{"replaced by another file", "old", hookFound, func(t *testing.T, path string) {
			plant(t, path+"~", exec("new"))
			try(t, os.Rename(path+"~", path))
		}, exec("new")},
		{"replaced while it is open", "old", hookOpened, func(t *testing.T, path string) {
			plant(t, path+"~", "new")
			try(t, os.Rename(path+"~", path))
		}, "old"},
		{"removed while it is open", "old", hookOpened, func(t *testing.T, path string) { try(t, os.Remove(path)) }, "old"},
		{"directory replaced by a directory", tree{"a": ""}, hookFound, func(t *testing.T, path string) {
			replace(t, path, tree{"b": ""})
		}, tree{"b": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := planted(t, tree{"sub": tree{"x": tt.before}})
			path := base + "/sub/x"
			o := at(tt.when, path, 1, func() { tt.change(t, path) })
			o.Progress = new(Progress)
			var got any = tt.after
			if tt.name == "replaced while it is open" || tt.name == "removed while it is open" {
				// The open file shows that its links changed. It is then read again, if it still exists.
				r, err := FS(context.Background(), nil, base, o)
				if err == nil && r.Root != rootOf(t, tree{"sub": tree{"x": "old"}}) && r.Root != rootOf(t, tree{"sub": tree{"x": "new"}}) {
					t.Errorf("root %v is neither the old nor the new", r.Root)
				}
				if err != nil && !strings.HasSuffix(err.Error(), "/sub/x: no such file or directory") {
					t.Error(err)
				}
				return
			}
			r := want(t, base, o, tree{"sub": tree{"x": got}})
			if bytes := o.Progress.Bytes.Load(); bytes != r.Counts.Bytes {
				t.Errorf("progress counts %d bytes, the result %d", bytes, r.Counts.Bytes)
			}
			want(t, base, Options{}, tree{"sub": tree{"x": got}})
		})
	}
}

// TestChangesAlways ingests files that change during every read, or become another kind of entry.
func TestChangesAlways(t *testing.T) {
	tests := []struct {
		name   string
		before any
		when   hookMoment
		change func(t *testing.T, path string)
		reason error
	}{
		{"content", "old", hookRead, func(t *testing.T, path string) { change(t, path, "new") }, ErrChanged},
		{"grows", "old", hookOpened, func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			try(t, err)
			change(t, path, string(data)+"!")
		}, ErrChanged},
		{"vanishes before it is described", "old", hookListed, func(t *testing.T, path string) { try(t, os.RemoveAll(path)) }, unix.ENOENT},
		{"vanishes before it is opened", "old", hookFound, func(t *testing.T, path string) { try(t, os.RemoveAll(path)) }, unix.ENOENT},
		{"symlink vanishes", link("a"), hookFound, func(t *testing.T, path string) { try(t, os.RemoveAll(path)) }, unix.ENOENT},
		{"directory vanishes", tree{"a": ""}, hookFound, func(t *testing.T, path string) { try(t, os.RemoveAll(path)) }, unix.ENOENT},
		{"file becomes a symlink", "old", hookFound, func(t *testing.T, path string) { replace(t, path, link("/etc/passwd")) }, ErrChanged},
		{"file becomes a directory", "old", hookFound, func(t *testing.T, path string) { replace(t, path, tree{}) }, ErrChanged},
		{"file becomes a pipe", "old", hookFound, func(t *testing.T, path string) {
			try(t, os.RemoveAll(path))
			try(t, mkfifo(path))
		}, ErrChanged},
		{"directory becomes a symlink to one", tree{"a": ""}, hookFound, func(t *testing.T, path string) { replace(t, path, link("/")) }, ErrChanged},
		{"directory becomes a file", tree{"a": ""}, hookFound, func(t *testing.T, path string) { replace(t, path, "") }, ErrChanged},
		{"symlink becomes a file", link("a"), hookFound, func(t *testing.T, path string) { replace(t, path, "") }, unix.EINVAL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, ignore := range []bool{false, true} {
				base := planted(t, tree{"sub": tree{"x": tt.before, "y": "y"}})
				path, when := base+"/sub/x", base+"/sub/x"
				if tt.when == hookListed {
					when = base + "/sub"
				}
				o := at(tt.when, when, 1000, func() { tt.change(t, path) })
				o.IgnoreErrors = ignore
				r, err := FS(context.Background(), memory.New(), base, o)
				want := Problem{Path: path, Err: tt.reason}
				switch {
				case !ignore && (err == nil || err.Error() != want.Error()):
					t.Errorf("root %v, error %v; want %v", r.Root, err, want)
				case ignore && (err != nil || r.Root != rootOf(t, tree{"sub": tree{"y": "y"}})):
					t.Errorf("root %v, error %v; want one without x", r.Root, err)
				case len(r.LeftOut) != 1 || r.LeftOut[0].Error() != want.Error():
					t.Errorf("left out %v, want %v", r.LeftOut, want)
				}
			}
		})
	}
}

// TestRemovedWhileWalked removes a directory after its names were read. Each of its entries becomes a problem.
func TestRemovedWhileWalked(t *testing.T) {
	dir := planted(t, tree{"gone": tree{"a": "", "b": tree{"c": ""}, "d": link("x")}, "kept": ""})
	all := tree{"kept": "", "gone": tree{}}
	saved := planted(t, tree{})
	o := Options{hook: func(m hookMoment, path string) {
		if m == hookListed && path == dir+"/gone" {
			try(t, os.Rename(path, filepath.Join(saved, "gone")))
			try(t, os.Mkdir(path, 0o755)) // not what is being walked
		}
	}}
	want(t, dir, o, tree{"kept": "", "gone": tree{"a": "", "b": tree{"c": ""}, "d": link("x")}})

	try(t, os.Remove(dir+"/gone"))
	try(t, os.Rename(filepath.Join(saved, "gone"), dir+"/gone"))
	o.hook = func(m hookMoment, path string) {
		if m == hookListed && path == dir+"/gone" {
			try(t, os.RemoveAll(path))
		}
	}
	o.IgnoreErrors = true
	r := want(t, dir, o, all)
	if len(r.LeftOut) != 3 {
		t.Errorf("left out %v, want a, b and d", r.LeftOut)
	}
}
