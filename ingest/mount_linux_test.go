package ingest

import "golang.org/x/sys/unix"

func mountTmpfs(path string) error { return unix.Mount("castar-test", path, "tmpfs", 0, "size=1m") }
