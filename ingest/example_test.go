package ingest_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"castar/ingest"
	"castar/store/memory"
	"castar/store/tree"
)

// Store a local directory, and list what the store then has.
func ExampleFS() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello, world\n"), 0o644); err != nil {
		log.Fatal(err)
	}

	ctx, st := context.Background(), memory.New()
	defer st.Close()
	result, err := ingest.FS(ctx, st, dir, ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := st.Sync(ctx); err != nil { // name a root only after that
		log.Fatal(err)
	}
	fmt.Println("root", result.Root.Digest)
	for entry, err := range tree.Walk(ctx, st.Directories, result.Root, -1) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %q %d\n", entry.Node.Kind, entry.Path, entry.Node.Size)
	}
	// Output:
	// root 9e87baf1297aec8e7a986c12d40842856b8c2ebff871074d78f3ea24d7d98e34
	// directory "" 1
	// file "hello.txt" 13
}
