package packed_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"castar/store"
	"castar/store/packed"
)

// Make a store in an empty folder, put a blob into it, and read the blob after the store was opened again.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	st, err := packed.Open(ctx, dir, packed.Options{Create: true})
	if err != nil {
		log.Fatal(err)
	}
	d, err := st.Blobs.Put(ctx, []byte("hello, world\n"))
	if err != nil {
		log.Fatal(err)
	}
	if err := st.Sync(ctx); err != nil { // the blob is durable only after that
		log.Fatal(err)
	}
	if err := st.Close(); err != nil {
		log.Fatal(err)
	}

	st, err = packed.Open(ctx, dir, packed.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	blob, err := st.Blobs.Open(ctx, d)
	if err != nil {
		log.Fatal(err)
	}
	defer blob.Close()
	if _, err := blob.WriteTo(os.Stdout); err != nil { // fails if the bytes are not those of d
		log.Fatal(err)
	}
	_, err = st.Blobs.Open(ctx, store.Sum([]byte("something else")))
	fmt.Println("something else is missing:", store.IsNotFound(err))
	// Output:
	// hello, world
	// something else is missing: true
}
