package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"castar/store/listing"
	"castar/store/storetest"
)

// openListing opens a listing, of which more is said when it is read.
func openListing(t *testing.T, text string) *listing.Folder {
	t.Helper()
	l, err := listing.Open(strings.NewReader(text), int64(len(text)), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// complaintsOf returns where Complain puts its complaints.
func complaintsOf(o *Options) *[]string {
	all := new([]string)
	o.Complain = func(path string, err error) { *all = append(*all, path+": "+err.Error()) }
	return all
}

// A listing that lies is named, entry by entry, and does no harm: the tree is as the store has it, with the modes that the
// options say.
func TestListingLies(t *testing.T) {
	set := "/set type=file uid=0 gid=0 uname= gname= mode=0600\n"
	top := "#mtree\n" + set + ". type=dir mode=0755 time=1.000000000\n"
	contents := tree{"d": tree{"f": "1"}, "f": "22", "l": link("to"), "x": exec("3")}
	tests := []struct {
		name, text string
		complaints []string
	}{
		{"nothing", top + "..\n", []string{"d: " + errUnlisted.Error(), "f: " + errUnlisted.Error(), "l: " + errUnlisted.Error(),
			"x: " + errUnlisted.Error()}},
		{"names outside", top + "../../f size=2 time=1.0\n/etc/passwd size=2 time=1.0\nf size=2 time=1.0\n..\n", nil},
		{"more than the tree", top + "a size=2 time=1.0\nf size=2 time=1.0\nd size=1 time=1.0\n" + set + "gone type=dir mode=0700 time=1.0\n..\n..\n",
			[]string{"a: " + errNotInTree.Error(), "d: " + errNotInTree.Error(), "gone: " + errNotInTree.Error()}},
		{"another size", top + "f size=3 time=1.0\n..\n", []string{"f: the listing says that it has 3 bytes"}},
		{"another target", top + "l type=link link=/etc time=1.0\n..\n", []string{"l: the listing says that it points elsewhere"}},
		{"another kind", top + "l size=2 time=1.0\nf type=link link=to\n..\n",
			[]string{"f: the listing says that it is a symlink", "l: the listing says that it is a file"}},
		{"a file for a directory", "#mtree\n" + set + ". size=0 time=1.0\n", []string{": the listing says that it is a file"}},
		{"a time that is none", top + "f size=2 time=9223372036854775807.999999999\n..\n", nil},
		{"bad values", top + "f size=2 mode=0888 time=1.0\nl type=link link=to time=1.0 uid=-1\n..\n", []string{"f: listing: f: mode", "l: listing: l: uid"}},
		{"executable bits", top + "f size=2 mode=0755 time=1.0\nx size=1 mode=0600 time=1.0\n..\n", nil},
		{"links of all", top + "f size=2 nlink=9 inode=1 time=1.0\nx size=1 nlink=9 inode=1 time=1.0\n" + set + "d type=dir mode=0755 time=1.0\nf size=1 nlink=9 inode=1 time=1.0\n..\n..\n", nil},
	}
	for _, tt := range tests {
		for _, overwrite := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, overwrite), func(t *testing.T) {
				dir := t.TempDir()
				dest := filepath.Join(dir, "out")
				o := Options{Listing: openListing(t, tt.text), Overwrite: overwrite, Owner: os.Geteuid() == 0, Xattrs: true}
				if overwrite {
					plant(t, dest, tree{"d": tree{"f": "0"}, "f": "22", "l": link("to")})
				}
				got := complaintsOf(&o)
				f := newFake()
				if _, err := Dir(t.Context(), f.store(), f.put(t, "", contents), dest, o); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(any(contents), read(t, dest)); diff != "" {
					t.Error(diff)
				}
				if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
					t.Errorf("beside the destination: %v, %v", names, err)
				}
				for _, want := range tt.complaints {
					if !slices.ContainsFunc(*got, func(s string) bool { return strings.HasPrefix(s, want) }) {
						t.Errorf("no complaint %q in %q", want, *got)
					}
				}
				checkApart(t, dest)
			})
		}
	}
}

// checkApart fails the test if two files are one.
func checkApart(t *testing.T, dest string) {
	t.Helper()
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(path, &st)); err == nil && d.Type() == 0 && st.Nlink != 1 {
			t.Errorf("%s has %d links", path, st.Nlink)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A million lines for one directory are passed over.
func TestListingLong(t *testing.T) {
	lines := storetest.Sample(1_000_000, 100_000)
	var text strings.Builder
	text.WriteString("#mtree\n/set type=file uid=0 gid=0 mode=0644\n. type=dir mode=0700 time=5.0\n")
	for i := range lines {
		fmt.Fprintf(&text, "n%d size=1 time=1.0\n", i)
	}
	text.WriteString("z size=1 time=7.000000009\n..\n")
	o := Options{Listing: openListing(t, text.String())}
	number := 0
	o.Complain = func(string, error) { number++ }
	f := newFake()
	dest := filepath.Join(t.TempDir(), "out")
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"z": "1"}), dest, o); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dest, "z"), &st); err != nil || st.Mtim.Sec != 7 || st.Mtim.Nsec != 9 {
		t.Errorf("time %v, %v", st.Mtim, err)
	}
	if number != lines {
		t.Errorf("%d complaints", number)
	}
}

// Explicit options win over the listing.
func TestListingLoses(t *testing.T) {
	text := "#mtree\n/set type=file uid=0 gid=0 mode=0600\n. type=dir mode=0700 time=5.0\nf size=1 time=1.0\nx size=1 mode=0700 time=1.0\n..\n"
	dest := filepath.Join(t.TempDir(), "out")
	o := Options{Listing: openListing(t, text), FileMode: 0o640, DirMode: 0o750}
	got := complaintsOf(&o)
	f := newFake()
	for range 2 {
		if _, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"f": "1", "x": exec("2")}), dest, o); err != nil {
			t.Fatal(err)
		}
		mask := ^fs.FileMode(umask())
		for name, want := range map[string]fs.FileMode{"": 0o750 & mask, "f": 0o640 & mask, "x": 0o700} {
			fi, err := os.Stat(filepath.Join(dest, name))
			if err != nil || fi.Mode().Perm() != want {
				t.Errorf("%q: mode %v, want %v, %v", name, fi.Mode().Perm(), want, err)
			}
		}
		o.Overwrite = true
	}
	if len(*got) > 0 {
		t.Error(*got)
	}
}

// What an ordinary user may not set is named, and nothing else fails.
func TestListingNotAllowed(t *testing.T) {
	dest := filepath.Join(shared(t, nobody, tree{}), "new")
	text := "#mtree\n/set type=file uid=0 gid=0 mode=04755\n. type=dir mode=0755 time=5.0\nx size=1 time=1.0 xattr.trusted.a=YQ==\n..\n"
	o := Options{Listing: openListing(t, text), Owner: true, Xattrs: true}
	got := complaintsOf(&o)
	f := newFake()
	want := tree{"x": exec("1")}
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", want), dest, o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), read(t, dest)); diff != "" {
		t.Error(diff)
	}
	fi, err := os.Stat(filepath.Join(dest, "x"))
	if err != nil || fi.Mode() != 0o755 || fi.ModTime().Unix() != 1 {
		t.Errorf("%v, %v", fi, err)
	}
	slices.Sort(*got)
	for i, prefix := range []string{": owner 0:0: ", "x: attribute", "x: owner 0:0: "} {
		if i >= len(*got) || !strings.HasPrefix((*got)[i], prefix) {
			t.Errorf("complaints %q", *got)
			break
		}
	}
}
