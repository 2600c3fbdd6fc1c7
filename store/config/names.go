package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// NameError says why nothing can be opened by the name of a store.
type NameError struct {
	Err  error
	Hint string // what to write instead, or ""
	File bool   // the name is right: it is the composition file that has a mistake
}

// Error returns the reason.
func (e *NameError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *NameError) Unwrap() error { return e.Err }

// ofFile returns the error of a composition file. If a file may not have been meant as one, it is a *NameError.
func ofFile(file string, err error) error {
	if _, there := os.Stat(file); there != nil || filepath.Ext(file) == ".toml" {
		return err
	}
	return &NameError{Err: err, File: true,
		Hint: "a file is taken for a composition file: see 'castar config --help'; a packed store is a folder"}
}

// hintForScheme returns what to write instead of a URL of another program, or "".
func hintForScheme(scheme string) string {
	buckets := map[string]string{"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
	switch bucket := buckets[strings.TrimPrefix(scheme, "packed+")]; {
	case bucket != "":
		return "write packed+" + bucket + "://BUCKET/PATH or objectstore+" + bucket + "://BUCKET/PATH"
	case scheme == "http" || scheme == "https":
		return "write grpc+" + scheme + "://HOST:PORT for a server of castar, tvix or snix, or objectstore+" + scheme +
			"://HOST/PATH for objects"
	case scheme == "file":
		return "write the path alone"
	case scheme == "ssh" || scheme == "sftp" || scheme == "rsync" || scheme == "rclone" || scheme == "rest":
		return hintAtServer
	}
	return ""
}

const hintAtServer = "run 'castar serve' on that host and write grpc+http://HOST:PORT, or mount its folder here"

// checkRemote refuses HOST:PATH and USER@HOST:PATH, as scp and rsync have them, unless a file has that name.
func checkRemote(spec string) error {
	host, path, ok := strings.Cut(spec, ":")
	if !ok || host == "" || strings.ContainsAny(host, "/") || host[0] == '.' || isURL(spec) {
		return nil
	}
	if _, err := os.Lstat(spec); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	foreign := strings.HasPrefix(path, "//") || strings.Contains(host, "+") || hintForScheme(host) != ""
	rooted := strings.HasPrefix(path, "/") || strings.HasPrefix(path, "~") || strings.Contains(host, "@")
	if foreign || !rooted {
		return nil // an unknown scheme, or a path
	}
	return &NameError{
		Err:  fmt.Errorf("store %s: castar does not reach into other hosts; a path with a colon begins with ./", quoteSpec(spec)),
		Hint: hintAtServer,
	}
}
