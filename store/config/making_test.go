package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The table of file systems names a disk, and nothing is mounted there.
func TestUnmounted(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "my disk")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	fstab := "# comment\nproc /proc proc\n/dev/a / ext4\nLABEL=b " + strings.ReplaceAll(disk, " ", `\040`) + " ext4 noauto 0 0\n"
	for folder, want := range map[string]string{
		disk: disk, filepath.Join(disk, "a", "store"): disk, disk + "2": "", filepath.Join(dir, "store"): "", "/proc/x": "",
	} {
		if got := unmounted(strings.NewReader(fstab), folder); got != want {
			t.Errorf("%s: %q, want %q", folder, got, want)
		}
	}
}
