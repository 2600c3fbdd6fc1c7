package packed

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// readsFS tells of each long read of a file, before it.
type readsFS struct {
	durable.FS
	reads chan int64 // the offset
}

type readsFile struct {
	durable.File
	reads chan int64
}

func (fsys *readsFS) Open(name string) (durable.File, error) {
	f, err := fsys.FS.Open(name)
	return &readsFile{f, fsys.reads}, err
}

func (f *readsFile) ReadAt(p []byte, at int64) (int, error) {
	if len(p) > 64<<10 {
		f.reads <- at
	}
	return f.File.ReadAt(p, at)
}

// firstWrite takes bytes once wait has returned.
type firstWrite struct {
	bytes.Buffer
	wait func() error
}

func (w *firstWrite) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		if err := w.wait(); err != nil {
			return 0, err
		}
	}
	return w.Buffer.Write(p)
}

// While the first bytes of a long blob are written, the groups after them are read and decoded, each once.
func TestLongBlobReadsGroupsAhead(t *testing.T) {
	ctx, fsys := t.Context(), crashfs.New()
	data := []byte(hex.EncodeToString(random(1, 6<<20))) // six groups
	st, err := openFS(ctx, fsys, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	w, err := st.Blobs().Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	d, err := w.Commit()
	if err = errors.Join(err, st.Sync(ctx), st.Close()); err != nil {
		t.Fatal(err)
	}
	reads := make(chan int64, 100)
	if st, err = openFS(ctx, &readsFS{fsys, reads}, Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b, err := st.Blobs().Open(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	offsets := map[int64]bool{}
	out := firstWrite{wait: func() error {
		for len(offsets) < 3 { // one for each of two processors, and one that is ready
			select {
			case at := <-reads:
				offsets[at] = true
			case <-time.After(30 * time.Second):
				return errors.New("waited in vain for more groups to be read")
			}
		}
		return nil
	}}
	if _, err := b.WriteTo(&out); err != nil || store.Sum(out.Bytes()) != d {
		t.Fatal("not the blob", err)
	}
	close(reads)
	for at := range reads {
		if offsets[at] {
			t.Errorf("the group at %d is read twice", at)
		}
		offsets[at] = true
	}
}
