package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"castar/export"
	"castar/ingest"
	"castar/ingest/treetest"
	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

// TestArchiveRoundTrip asserts that a tree has the same root when it went out as an archive and came back, read by castar
// or by the usual programs.
func TestArchiveRoundTrip(t *testing.T) {
	extractors := map[string][]string{
		"tar":     {"tar", "-xf", "-"},
		"bsdtar":  {"bsdtar", "-xf", "-"},
		"python3": {"python3", "-c", `import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errors="surrogateescape").extractall(filter="fully_trusted")`},
	}
	for name, command := range extractors {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("NOT TESTED: %s: %v", name, err)
			delete(extractors, name)
		}
	}
	ctx, base, trees, st, number := context.Background(), t.TempDir(), treetest.New(), memory.New(), 0
	storetest.Check(t, func(rt *rapid.T) {
		number++
		path := filepath.Join(base, fmt.Sprint(number))
		trees.Tree(rt, path, 3)
		defer os.RemoveAll(path)
		want, err := ingest.FS(ctx, st, path, ingest.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		check := func(name string, got ingest.Result, err error) {
			if err != nil || got.Root != want.Root || got.Counts != want.Counts {
				rt.Errorf("%s: root %v, counts %v, error %v; want %v, %v", name, got.Root, got.Counts, err, want.Root, want.Counts)
			}
		}
		var buf bytes.Buffer
		archive := func(format export.Format) io.Reader {
			buf.Reset()
			if _, err := export.Archive(ctx, st, want.Root, &buf, export.ArchiveOptions{Format: format}); err != nil {
				rt.Fatal(err)
			}
			return bytes.NewReader(buf.Bytes())
		}
		got, err := ingest.NAR(ctx, nil, archive(export.FormatNAR), ingest.Options{})
		check("NAR", got, err)
		got, err = ingest.Tar(ctx, nil, archive(export.FormatTar), ingest.Options{})
		check("tar", got, err)
		if number%50 != 7 { // programs take long to start; the first trees are small
			return
		}
		for name, command := range extractors {
			out := path + "." + name
			if err := os.Mkdir(out, 0o755); err != nil {
				rt.Fatal(err)
			}
			c := exec.Command(command[0], command[1:]...)
			c.Dir, c.Stdin, c.Env = out, bytes.NewReader(buf.Bytes()), append(os.Environ(), "LC_ALL=C.UTF-8")
			if message, err := c.CombinedOutput(); err != nil {
				rt.Errorf("%s: %v\n%s", name, err, message)
				continue
			}
			got, err := ingest.FS(ctx, nil, out, ingest.Options{})
			check(name, got, err)
		}
	})
}

// TestGoldenNAR hashes the NAR of what tvix and snix stored, and compares it with what they say.
func TestGoldenNAR(t *testing.T) {
	st, root := golden(t)
	e := &env{stderr: &console{w: io.Discard}, progress: "never"}
	got, err := e.narOf(t.Context(), st, root)
	want := jsonNAR{
		Bytes:  5938552,
		Size:   5938552,
		SHA256: "bee103bc1e83df8583eabea3e60888c5870fab6834470a932828f9d866fece58",
		Nix32:  "0n6fzrkdiy98529hlirld2mhz1y5i04fd8xyxa1qbpw33sy07qdy",
		SRI:    "sha256-vuEDvB6D34WD6r6j5giIxYcPq2g0RwqTKCj52Gb+zlg=",
	}
	if err != nil || *got != want {
		t.Errorf("%+v, error %v; want %+v", got, err, want)
	}
	var buf bytes.Buffer
	if _, err := export.Archive(t.Context(), st, root, &buf, export.ArchiveOptions{Format: export.FormatNAR}); err != nil {
		t.Fatal(err)
	}
	again, err := ingest.NAR(t.Context(), nil, &buf, ingest.Options{SizeRule: store.SizeSnix})
	if err != nil || again.Root != root {
		t.Errorf("its NAR has root %v, error %v", again.Root, err)
	}
}
