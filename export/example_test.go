package export_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"castar/export"
	"castar/store"
	"castar/store/memory"
)

// Make a directory in a store, and write it to disk.
func ExampleDir() {
	ctx, st := context.Background(), memory.New()
	defer st.Close()
	blob, err := st.Blobs.Put(ctx, []byte("hello, world\n"))
	if err != nil {
		log.Fatal(err)
	}
	dir := store.Directory{
		{Kind: store.KindFile, Name: "hello.txt", Digest: blob, Size: 13},
		{Kind: store.KindSymlink, Name: "link", Target: "hello.txt"},
	}
	d, err := st.Directories.Put(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	root := store.Node{Kind: store.KindDirectory, Digest: d, Size: 2}

	parent, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	dest := filepath.Join(parent, "out")
	result, err := export.Dir(ctx, st, root, dest, export.Options{})
	if err != nil {
		log.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dest, "link"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("wrote %d entries; link has %q\n", result.Written, data)
	// Output:
	// wrote 3 entries; link has "hello, world\n"
}
