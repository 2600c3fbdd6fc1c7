package rpc

import (
	"sync"

	"castar/store"
)

// maxKeptMemory is how many bytes of kept directories are in memory.
const maxKeptMemory = 8 << 20

// keptDirectories are encoded directories. Its methods may be called concurrently.
type keptDirectories struct {
	mu     sync.Mutex
	spool  spool
	places map[store.Digest]span
}

// span is where a directory is in the spool.
type span struct {
	start  int64
	length uint32
}

func newKeptDirectories() *keptDirectories {
	return &keptDirectories{spool: spool{most: maxKeptMemory}, places: map[store.Digest]span{}}
}

func (k *keptDirectories) get(d store.Digest) (message []byte, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.places[d]
	if ok {
		message, err = k.spool.at(s.start, int(s.length))
	}
	return message, ok && err == nil, err
}

func (k *keptDirectories) has(d store.Digest) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.places[d]
	return ok
}

func (k *keptDirectories) put(d store.Digest, message []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.places[d]; ok {
		return nil
	}
	start := k.spool.size()
	if err := k.spool.add(message); err != nil {
		return err
	}
	k.places[d] = span{start, uint32(len(message))}
	return nil
}

// size returns how many directories there are, and how long they are together.
func (k *keptDirectories) size() (n int, bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.places), k.spool.size()
}

// drop forgets all directories.
func (k *keptDirectories) drop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places = map[store.Digest]span{}
	return k.spool.drop()
}
