package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"castar/store"
	"castar/store/config"
)

// A path names a store if the error says that there is none.
func TestOpenPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"s3:there", "packed:/there", "there"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ spec, path string }{
		{"gone", "gone"},
		{"there", "there"},
		{"packed:gone", "gone"},
		{"packed:/nowhere/gone", "/nowhere/gone"},
		{"packed:./s3:gone", "./s3:gone"},
		{"packed:s3:gone", "s3:gone"},
		{"packed:/there", "/there"},
		{"./gone:x", "./gone:x"},
		{"../gone:x", "../gone:x"},
		{"/nowhere/s3:x", "/nowhere/s3:x"},
		{"/nowhere:x", "/nowhere:x"},
		{"s3:there", "s3:there"},
		{"a b:gone", "a b:gone"},
		{"2024:gone", "2024:gone"},
		{":gone", ":gone"},
	}
	for _, tt := range tests {
		st, err := config.Open(t.Context(), tt.spec, config.Options{})
		if err == nil {
			st.Close()
			t.Errorf("%s: opened", tt.spec)
			continue
		}
		if !errors.Is(err, store.ErrNoStore) || !strings.Contains(" "+err.Error(), " "+tt.path+":") {
			t.Errorf("%s: error %q, want %s: %v", tt.spec, err, tt.path, store.ErrNoStore)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	const want = ": want packed:, packed+, memory:, objectstore+, grpc+, cache:, priority:, bigtable:, or a path, such as "
	tests := []struct{ spec, want string }{
		{"", `store "": no path`},
		{"packed:", `store "packed:": no path`},
		{"memory:x", `store "memory:x": memory takes no path: want memory:`},
		{"s3:bucket", `store "s3:bucket": unknown scheme "s3"` + want + "./s3:bucket"},
		{"grpcs://host:1", `store "grpcs://host:1": unknown scheme "grpcs"` + want + "./grpcs://host:1"},
		{"Packed:x", `store "Packed:x": unknown scheme "Packed"` + want + "./Packed:x"},
	}
	for _, tt := range tests {
		_, err := config.Open(t.Context(), tt.spec, config.Options{Create: true})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", tt.spec, err, tt.want)
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("a refused spec left %v, %v", entries, err)
	}
}

// storeAndSync stores a blob, and closes the store.
func storeAndSync(t *testing.T, st *store.Store, data string) store.Digest {
	t.Helper()
	defer st.Close()
	d, err := st.Blobs.Put(t.Context(), []byte(data))
	if err == nil {
		err = st.Sync(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenMemory(t *testing.T) {
	st, err := config.Open(t.Context(), "memory:", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := storeAndSync(t, st, "x")
	if st, err = config.Open(t.Context(), "memory:", config.Options{}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if has, err := st.Blobs.Has(t.Context(), d); has || err != nil {
		t.Errorf("a new store in memory has what another was given: %v, %v", has, err)
	}
}

// The options reach the packed store.
func TestOpenPacked(t *testing.T) {
	dir := t.TempDir() + "/store"
	st, err := config.Open(t.Context(), dir, config.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	d := storeAndSync(t, st, "x")
	if st, err = config.Open(t.Context(), "packed:"+dir, config.Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if has, err := st.Blobs.Has(t.Context(), d); !has || err != nil {
		t.Errorf("the store lacks what it was given: %v, %v", has, err)
	}
	if _, err := st.Blobs.Put(t.Context(), []byte("y")); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Put: error %v, want %v", err, store.ErrReadOnly)
	}
}
