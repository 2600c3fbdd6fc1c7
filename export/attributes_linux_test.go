package export

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestAttributes exports to an empty directory with attributes, such as an access list, which must stay.
func TestAttributes(t *testing.T) {
	// Version 2, and the permissions of the owner, the owning group, the mask and others. It names nobody.
	acl := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	for name, value := range map[string]string{"system.posix_acl_access": acl, "system.posix_acl_default": acl, "user.note": "n"} {
		dest := filepath.Join(t.TempDir(), "out")
		plant(t, dest, tree{})
		if err := unix.Setxattr(dest, name, []byte(value), 0); err != nil {
			t.Skipf("NOT TESTED: %s, because the file system has no attributes: %v", name, err)
		}
		f := newFake()
		want := tree{"a": "1"}
		if _, err := Dir(t.Context(), f.store(), f.put(t, "", want), dest, Options{}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(value)+1)
		if n, err := unix.Getxattr(dest, name, got); err != nil || string(got[:n]) != value {
			t.Errorf("%s: %q, %v", name, got[:max(n, 0)], err)
		}
		if d := cmp.Diff(any(want), read(t, dest)); d != "" {
			t.Error(d)
		}
	}
}
