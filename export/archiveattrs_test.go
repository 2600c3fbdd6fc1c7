package export

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// listedArchive archives a tree that has a listing, and returns the archive and the complaints.
func listedArchive(t *testing.T, v any, text string, o ArchiveOptions) ([]byte, []string) {
	t.Helper()
	var complaints []string
	o.Listing = openListing(t, text)
	o.Complain = func(path string, err error) { complaints = append(complaints, path+": "+err.Error()) }
	return archiveOf(t, v, o), complaints
}

const (
	longUser = "somebody with a name that is too long for the header"
	facts    = "#mtree\n" +
		"/set type=file uid=1000 gid=2097152 uname=ann gname=staff mode=0644\n" +
		". type=dir mode=0750 time=1500000000.000000000\n" +
		"a size=1 nlink=3 inode=7 mode=0640 time=1600000000.123456789\n" +
		"l type=link mode=0777 link=a time=-2.500000000\n" +
		"x size=2 mode=04755 uname=\n" +
		"/set type=file uid=0 gid=0 uname=root gname=root mode=0600\n" +
		"d type=dir mode=01777 time=1700000000.000000000\n" +
		"b size=1 nlink=3 inode=7 mode=0640 time=1600000000.123456789 uid=1000 gid=5 uname=ann gname=staff xattr.user.k=AAo=\n" +
		"c size=1 nlink=3 inode=7 mode=0600 time=1.000000000\n" +
		"..\n..\n"
)

var listed = tree{"a": "1", "d": tree{"b": "1", "c": "2"}, "l": link("a"), "x": exec("xx")}

// summary returns what a header says, on one line.
func summary(h *tar.Header) string {
	s := fmt.Sprintf("%c %s %04o %d:%d %s:%s %d.%09d %d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname,
		h.ModTime.Unix(), h.ModTime.Nanosecond(), h.Size)
	if h.Linkname != "" {
		s += " -> " + h.Linkname
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			s += fmt.Sprintf(" %s=%q", name, v)
		}
	}
	return s
}

func TestTarListing(t *testing.T) {
	with := []string{
		"5 ./ 0750 1000:2097152 ann:staff 1500000000.000000000 0",
		"0 a 0640 1000:2097152 ann:staff 1600000000.123456789 1",
		"5 d/ 1777 0:0 root:root 1700000000.000000000 0",
		`1 d/b 0640 1000:5 ann:staff 1600000000.123456789 0 -> a user.k="\x00\n"`,
		"0 d/c 0600 0:0 root:root 1.000000000 1", // which has other contents, whatever the listing says
		"2 l 0777 1000:2097152 ann:staff -2.500000000 0 -> a",
		"0 x 4755 1000:2097152 :staff 0.000000000 2",
	}
	for _, tt := range []struct {
		name string
		o    ArchiveOptions
		want []string
	}{
		{"all", ArchiveOptions{Options: Options{Xattrs: true}}, with},
		{"below a name, with one time", ArchiveOptions{Name: "p/q", Options: Options{MTime: time.Unix(9, 5)}}, []string{
			"5 p/q/ 0750 1000:2097152 ann:staff 9.000000000 0", "0 p/q/a 0640 1000:2097152 ann:staff 9.000000000 1",
			"5 p/q/d/ 1777 0:0 root:root 9.000000000 0", "1 p/q/d/b 0640 1000:5 ann:staff 9.000000000 0 -> p/q/a",
			"0 p/q/d/c 0600 0:0 root:root 9.000000000 1", "2 p/q/l 0777 1000:2097152 ann:staff 9.000000000 0 -> a",
			"0 p/q/x 4755 1000:2097152 :staff 9.000000000 2",
		}},
	} {
		tt.o.Format = FormatTar
		archive, complaints := listedArchive(t, listed, facts, tt.o)
		var got []string
		for r := tar.NewReader(bytes.NewReader(archive)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, summary(h))
		}
		if d := cmp.Diff(tt.want, got); d != "" || complaints != nil {
			t.Errorf("%s: %s, complaints %q", tt.name, d, complaints)
		}
	}
}

// TestArchiveListingLies has an archive whose listing is wrong: what is wrong is named, and the tree decides.
func TestArchiveListingLies(t *testing.T) {
	text := "#mtree\n/set type=file uid=0 gid=0 uname=" + strings.ReplaceAll(longUser, " ", `\040`) + " gname= mode=0600\n" +
		". type=dir mode=0700 time=1.000000000\na size=9\nx size=2 mode=0600 xattr.user.=AA== xattr.a\\075b=AA==\n..\n"
	archive, complaints := listedArchive(t, tree{"a": "1", "x": exec("xx")}, text, ArchiveOptions{Format: FormatTar, Options: Options{Xattrs: true}})
	want := []string{"a: the listing says that it has 9 bytes"}
	if d := cmp.Diff(want, complaints[:1]); d != "" || len(complaints) > 2 {
		t.Errorf("%s, of %q", d, complaints)
	}
	got := map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		got[h.Name] = h
	}
	if h := got["a"]; h == nil || h.Mode != 0o644 || h.ModTime.Unix() != 0 {
		t.Errorf("a: %+v", h)
	}
	if h := got["x"]; h == nil || h.Mode != 0o700 || h.Uname != longUser {
		t.Errorf("x: %+v", h)
	}
}

func TestZipListing(t *testing.T) {
	archive, complaints := listedArchive(t, listed, facts, ArchiveOptions{Format: FormatZip})
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil || complaints != nil {
		t.Fatal(err, complaints)
	}
	var got []string
	for _, f := range r.File {
		data, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(data)
		if err != nil {
			t.Fatal(err)
		}
		owner := f.Extra[max(0, len(f.Extra)-15):]
		got = append(got, fmt.Sprintf("%s %v %d %q %x", f.Name, f.Mode(), int32(f.Modified.Unix()), content, owner))
	}
	const ann, root = "7578" + "0b00" + "01" + "04e8030000" + "0400002000", "7578" + "0b00" + "01" + "0400000000" + "0400000000"
	want := []string{
		`a -rw-r----- 1600000000 "1" ` + ann, `d/ dtrwxrwxrwx 1700000000 "" ` + root,
		`d/b -rw-r----- 1600000000 "1" 75780b000104e80300000405000000`, `d/c -rw------- 1 "2" ` + root,
		`l Lrwxrwxrwx -2 "a" ` + ann, `x urwxr-xr-x 0 "xx" ` + ann,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPAXTime(t *testing.T) {
	for _, tt := range []struct {
		seconds int64
		nano    uint32
		want    string
	}{
		{0, 1, "0.000000001"}, {5, 0, "5"}, {-1, 0, "-1"}, {-1, 999_999_999, "-0.000000001"}, {-2, 500_000_000, "-1.500000000"},
		{math.MinInt64, 1, "-9223372036854775807.999999999"},
	} {
		if got := paxTime(tt.seconds, tt.nano); got != tt.want {
			t.Errorf("%d and %d ns: %s, want %s", tt.seconds, tt.nano, got, tt.want)
		}
	}
}
