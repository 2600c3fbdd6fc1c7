package rpc

import "castar/store"

// maxKeptMemory is how many bytes of kept directories are in memory.
const maxKeptMemory = 8 << 20

// keptDirectories are encoded directories.
type keptDirectories struct {
	spool
	places map[store.Digest]span
}

// span is where a directory is in the spool.
type span struct {
	start  int64
	length uint32
}

func newKeptDirectories() keptDirectories {
	return keptDirectories{spool{most: maxKeptMemory}, map[store.Digest]span{}}
}

func (k *keptDirectories) get(d store.Digest) (message []byte, ok bool, err error) {
	s, ok := k.places[d]
	if ok {
		message, err = k.at(s.start, int(s.length))
	}
	return message, ok && err == nil, err
}

func (k *keptDirectories) put(d store.Digest, message []byte) error {
	if _, ok := k.places[d]; ok {
		return nil
	}
	start := k.size()
	if err := k.add(message); err != nil {
		return err
	}
	k.places[d] = span{start, uint32(len(message))}
	return nil
}

// drop forgets all directories.
func (k *keptDirectories) drop() error {
	k.places = map[store.Digest]span{}
	return k.spool.drop()
}
