package live

import (
	"context"
	"crypto/rand"
	"errors"

	"castar/store/durable"
	"castar/store/packed/pack"
)

// roomSize is how much must fit in the store for it to have room, in bytes: several groups and an index.
const roomSize = 4 << 20

// Room returns an error while there is no room in the store. It writes a file and removes it: only that also tells of
// quotas.
func (st *Store) Room(ctx context.Context) error {
	data := make([]byte, roomSize)
	_, _ = rand.Read(data) // a file system may compress
	name := pack.TempPath("room-" + rand.Text())
	if err := durable.NewFile(st.Fs, name, data, true); err != nil {
		return err
	}
	return errors.Join(st.Fs.Remove(name), ctx.Err())
}
